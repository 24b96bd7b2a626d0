/* What a request of loadgen.c asks for.  No sockets and no clock. */
#ifndef CALL_H
#define CALL_H

#include <stdbool.h>
#include <stdint.h>

/* A tag, or a model's name in its quotes: the bench's own are below 16 bytes. */
enum { NAME = 64 };

struct call {
    bool stream, usage; /* usage: the stream is to have a chunk with it */
    char model[NAME];   /* as JSON, in quotes */
    char tag[NAME];
    long tokens;
    uint64_t interval; /* ns between events, or tokens of a document */
};

/* Read the body of a request, which ends in NUL; return NULL, or what is wrong with it. */
const char *call_read(struct call *call, const char *body);

#endif
