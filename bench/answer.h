/* One answer, checked byte by byte as it arrives.  No sockets and no clock: time is an argument. */
#ifndef ANSWER_H
#define ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "histogram.h"

/* A head, an event or a unary body; the bench's own are below 4 KiB. */
enum { HOLD = 16 * 1024 };
/* What surrounds the token in an event: some 200 bytes. */
enum { FRAME = 1024 };
enum { TAG = 32 };

/* What can be wrong.  The first five end the answer: what follows them cannot be read. */
enum kind {
    CONNECT,      /* no connection, or the request could not be sent */
    STATUS,       /* not 200 */
    CONTENT_TYPE, /* not the one that was asked for */
    FRAMING,      /* head or body not framed as RFC 9112 has it */
    CUT,          /* the connection ended amid the answer */
    ERROR_EVENT,  /* an error object in the stream */
    MISSING,      /* fewer tokens than asked for */
    DOUBLED,      /* a token or an ending that was there before */
    ORDER,        /* a token before an earlier one */
    CROSSTALK,    /* a token of another request */
    TEXT,         /* any byte that differs from what was asked for */
    USAGE,        /* a usage chunk that nobody asked for */
    NO_FINISH,    /* no finish reason */
    NO_DONE,      /* no [DONE] */
    AFTER_DONE,   /* an event after [DONE] */
    SURPLUS,      /* bytes after the answer */
    STALLED,      /* nothing arrived any more */
    KINDS,
};

extern const char *const kind_name[KINDS];

struct tally {
    uint64_t answers, events, comments;
    uint64_t faults[KINDS];
    struct histogram event_ns;  /* from the stamp in a token to its arrival */
    struct histogram answer_ns; /* from the request to the first token, or the whole document */
};

extern struct tally tally;

enum phase { HEAD, SIZE, SIZE_LF, DATA, DATA_CR, DATA_LF, LAST_CR, LAST_LF, END, BROKEN };

struct answer {
    /* what was asked */
    char tag[TAG]; /* with the colon that ends it: no tag is the beginning of another */
    size_t tag_len;
    bool stream;
    long tokens;
    uint64_t asked;

    /* the HTTP message */
    enum phase phase;
    bool typed, chunked, sized, last_on_connection;
    int digits;  /* of the chunk size being read */
    size_t left; /* of the chunk, or of the body */

    /* the stream */
    bool opened, finished, done; /* seen: the role, the finish reason, [DONE] */
    long seen, next;           /* tokens so far; the index the next one should have */
    long gap_from, gap_to;     /* indexes that were skipped */
    size_t before, after;      /* frame: the bytes around the token, alike in all events */
    char frame[FRAME];

    size_t held; /* bytes that wait for the rest of their head, event or body */
    char hold[HOLD + 1];
};

/* Forget the last answer and expect the one to `tag`. */
void answer_expect(struct answer *a, const char *tag, bool stream, long tokens, uint64_t now);

/* Check `n` bytes; return how many belong to this answer.  Ends in phase END or BROKEN. */
size_t answer_feed(struct answer *a, const char *p, size_t n, uint64_t now);

/* Count a fault and show the first few on stderr. */
void fault(const struct answer *a, enum kind kind, const char *excerpt, size_t n);

uint64_t fault_count(void);

#endif
