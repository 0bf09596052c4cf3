"""Speed against peers, in one run each: `make bench`, or one part of it: `make bench PART=decode`."""
