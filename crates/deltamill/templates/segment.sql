-- Where calls are sent: this program's own Tracking API stands in for Segment's, so that what is sent is seen in `sent`.
-- For Segment itself put the source's write key here, take URL away, and drop `sent`.
CREATE SECRET segment_key AS 'stand-in';

CREATE CONNECTION segment TO SEGMENT (WRITE KEY = SECRET segment_key, URL = 'http://127.0.0.1:6876');

CREATE SOURCE sent FROM SEGMENT (WRITE KEY = SECRET segment_key);
