/* One answer in the mock's words and framing, write after write.  No sockets and no clock. */
#ifndef REPLY_H
#define REPLY_H

#include <stddef.h>

#include "call.h"

/* One write, or a whole document; loadgen.c can hold no more of one. */
enum { PIECE = 16 * 1024 };

struct text {
    size_t size;
    char bytes[PIECE];
};

/* What is to be said next. */
enum part { ROLE, TOKEN, FINISH, USAGE, LAST, DOCUMENT, NOTHING };

struct reply {
    struct call call;
    unsigned number; /* of all answers, for its ids */
    long created;    /* seconds since 1970 */
    enum part part;
    long index; /* of the next token */
};

/* Begin the answer to r->call; return NULL, or why there is none. */
const char *reply_begin(struct reply *r, unsigned number, long created);

/* Return the next write, which is good until the next call; `now` is the stamp, in ns. */
const struct text *reply_next(struct reply *r, uint64_t now);

#endif
