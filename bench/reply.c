/*
 * What `headgate mock` says to a request of loadgen.c, byte for byte and write for write.
 *
 * A stream is a chunk with the role, the tokens, a chunk with the finish reason, one with the
 * usage if the request asked for it, and `[DONE]`; a document is all tokens at once.
 */
#define _GNU_SOURCE
#include "reply.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of the one prompt that loadgen.c sends, as the mock counts. */
static const int PROMPT_TOKENS = 11;

static struct text out, event; /* the piece to be written; the event to become a chunk of it */

__attribute__((format(printf, 2, 3)))
static void say(struct text *t, const char *format, ...) {
    va_list values;
    va_start(values, format);
    int n = vsnprintf(t->bytes + t->size, PIECE - t->size, format, values);
    va_end(values);
    t->size += (size_t)n;
    if (t->size >= PIECE) /* `fits` has seen to it */
        abort();
}

static void say_head(const struct reply *r, const char *type) {
    say(&out,
        "HTTP/1.1 200 OK\r\ncontent-type: %s\r\nx-request-id: req_mock%08u\r\n"
        "server: mock\r\nset-cookie: mock=1; Path=/; HttpOnly\r\nopenai-organization: mock-org\r\n"
        "openai-processing-ms: 7\r\nopenai-version: 2020-10-01\r\n"
        "x-ratelimit-limit-requests: 10000\r\nx-ratelimit-remaining-requests: 9999\r\n"
        "x-ratelimit-reset-requests: 6ms\r\n", type, r->number);
}

/* All that a chunk and a document begin with. */
static void say_object(const struct reply *r, const char *kind) {
    say(&event,
        "{\"id\":\"chatcmpl-mock%08u\",\"object\":\"%s\",\"created\":%ld,\"model\":%s,"
        "\"system_fingerprint\":\"fp_mock\",\"choices\":[",
        r->number, kind, r->created, r->call.model);
}

static void say_usage(const struct reply *r) {
    long said = r->call.tokens;
    say(&event,
        "],\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%ld,\"total_tokens\":%ld,"
        "\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},"
        "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,"
        "\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}}",
        PROMPT_TOKENS, said, said + PROMPT_TOKENS);
}

/* Make the event a chunk of the body. */
static void say_chunk(void) {
    say(&event, "\n\n");
    say(&out, "%zx\r\n%.*s\r\n", event.size, (int)event.size, event.bytes);
    event.size = 0;
}

static void say_choice(const struct reply *r, const char *delta, const char *finish) {
    say(&event, "data: ");
    say_object(r, "chat.completion.chunk");
    say(&event, "{\"index\":0,\"delta\":{%s},\"logprobs\":null,\"finish_reason\":%s}]%s}", delta,
        finish, r->call.usage ? ",\"usage\":null" : "");
    say_chunk();
}

static void say_role(const struct reply *r) {
    say_head(r, "text/event-stream; charset=utf-8");
    say(&out, "transfer-encoding: chunked\r\n\r\n");
    say_choice(r, "\"role\":\"assistant\",\"content\":\"\",\"refusal\":null", "null");
}

static void say_token(const struct reply *r, uint64_t now) {
    char delta[2 * NAME + 64];
    snprintf(delta, sizeof delta, "\"content\":\"%s:%ld:%019lu\"", r->call.tag, r->index, now);
    say_choice(r, delta, "null");
}

static void say_usage_chunk(const struct reply *r) {
    say(&event, "data: ");
    say_object(r, "chat.completion.chunk");
    say_usage(r);
    say_chunk();
}

static void say_last(void) {
    say(&event, "data: [DONE]");
    say_chunk();
    /* The end of the body rides with it, as SDKs wait for it. */
    say(&out, "0\r\n\r\n");
}

static void say_document(const struct reply *r, uint64_t now) {
    say_object(r, "chat.completion");
    say(&event, "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"");
    for (long i = 0; i < r->call.tokens; i++)
        say(&event, "%s:%ld:%019lu", r->call.tag, i, now);
    say(&event, "\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}");
    say_usage(r);
    say_head(r, "application/json");
    say(&out, "content-length: %zu\r\n\r\n%.*s", event.size, (int)event.size, event.bytes);
    event.size = 0;
}

static bool fits(const struct call *call) {
    /* Around the tag of a token: two colons, an index, a stamp; around all of them: the rest. */
    size_t token = strlen(call->tag) + 30;
    return call->stream || (size_t)call->tokens <= (PIECE - 2048) / token;
}

const char *reply_begin(struct reply *r, unsigned number, long created) {
    if (!fits(&r->call))
        return "a longer document than loadgen can hold";
    r->number = number;
    r->created = created;
    r->part = r->call.stream ? ROLE : DOCUMENT;
    r->index = 0;
    return NULL;
}

/* Say the part whose turn it is, and return the one that follows. */
static enum part say_part(struct reply *r, uint64_t now) {
    switch (r->part) {
    case ROLE: say_role(r); return TOKEN;
    case TOKEN: say_token(r, now); return ++r->index < r->call.tokens ? TOKEN : FINISH;
    case FINISH: say_choice(r, "", "\"stop\""); return r->call.usage ? USAGE : LAST;
    /* Nothing is left to generate: a provider counts and closes in one go. */
    case USAGE: say_usage_chunk(r); say_last(); return NOTHING;
    case LAST: say_last(); return NOTHING;
    case DOCUMENT: say_document(r, now); return NOTHING;
    case NOTHING: break;
    }
    abort();
}

const struct text *reply_next(struct reply *r, uint64_t now) {
    out.size = 0;
    r->part = say_part(r, now);
    return &out;
}
