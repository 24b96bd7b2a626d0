/*
 * Whether an answer is, to the byte, the one that was asked for.
 *
 * Every request carries a tag of its own, and the mock makes each token of the
 * answer `tag:index:stamp`, so a token that is lost, repeated, moved, changed or
 * someone else's is seen as such.  Around the token all events of a stream are the
 * same bytes; the first one is kept and the others are compared with it.
 *
 * This code is strict on purpose and no SSE client: it wants the framing a gateway
 * should send (LF, one space, one data line), not all that the standard allows.
 */
#define _GNU_SOURCE
#include "answer.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Enough to see what is wrong; a broken run would print millions. */
enum { SHOWN = 8, EXCERPT = 120 };

const char *const kind_name[KINDS] = {
    [CONNECT] = "connect",     [STATUS] = "status",           [CONTENT_TYPE] = "content_type",
    [FRAMING] = "framing",     [CUT] = "cut",                 [ERROR_EVENT] = "error_event",
    [MISSING] = "missing",     [DOUBLED] = "doubled",         [ORDER] = "order",
    [CROSSTALK] = "crosstalk", [TEXT] = "text",               [USAGE] = "usage",
    [NO_FINISH] = "no_finish", [NO_DONE] = "no_done",         [AFTER_DONE] = "after_done",
    [SURPLUS] = "surplus",     [STALLED] = "stalled",
};

struct tally tally;

uint64_t fault_count(void) {
    uint64_t sum = 0;
    for (int kind = 0; kind < KINDS; kind++)
        sum += tally.faults[kind];
    return sum;
}

void fault(const struct answer *a, enum kind kind, const char *excerpt, size_t n) {
    if (fault_count() < SHOWN)
        fprintf(stderr, "loadgen: %s in %.*s %.*s\n", kind_name[kind], (int)a->tag_len, a->tag,
                (int)(n < EXCERPT ? n : EXCERPT), excerpt);
    tally.faults[kind]++;
}

static void give_up(struct answer *a, enum kind kind, const char *excerpt, size_t n) {
    fault(a, kind, excerpt, n);
    a->phase = BROKEN;
}

void answer_expect(struct answer *a, const char *tag, bool stream, long tokens, uint64_t now) {
    memset(a, 0, offsetof(struct answer, hold));
    a->tag_len = (size_t)snprintf(a->tag, TAG, "%s:", tag);
    a->stream = stream;
    a->tokens = tokens;
    a->asked = now;
}

/* --- tokens ------------------------------------------------------------------------------- */

static const char *find(const char *p, size_t n, const char *what) {
    const char *at = memmem(p, n, what, strlen(what));
    return at ? at + strlen(what) : NULL;
}

/* Read digits at *p and step over them; -1 if there are none, or too many for a stamp. */
static int64_t number(const char **p, const char *end) {
    const char *start = *p;
    int64_t value = 0;
    for (; *p < end && isdigit((unsigned char)**p) && *p - start < 19; ++*p)
        value = value * 10 + (**p - '0');
    return *p == start ? -1 : value;
}

/* Tell a token of another request from mere rubbish; tags are made by loadgen.c. */
static bool has_some_tag(const char *p, const char *end) {
    if (p == end || *p++ != 's' || number(&p, end) < 0 || p == end || *p++ != '.')
        return false;
    return number(&p, end) >= 0 && p < end && *p == ':';
}

static void count_index(struct answer *a, long index, const char *p, size_t n) {
    if (index >= a->tokens) {
        fault(a, SURPLUS, p, n);
        return;
    }
    if (index == a->next) {
        a->next++;
    } else if (index > a->next) { /* lost or late: known when the answer ends */
        a->gap_from = a->next;
        a->gap_to = index;
        a->next = index + 1;
    } else if (index >= a->gap_from && index < a->gap_to) {
        fault(a, ORDER, p, n);
        a->gap_from = index + 1;
    } else {
        fault(a, DOUBLED, p, n);
        return;
    }
    a->seen++;
}

/* Check one token; return its end, or NULL if it cannot be read. */
static const char *token(struct answer *a, const char *p, const char *end, uint64_t now) {
    const char *start = p;
    if ((size_t)(end - p) < a->tag_len || memcmp(p, a->tag, a->tag_len) != 0) {
        fault(a, has_some_tag(p, end) ? CROSSTALK : TEXT, p, (size_t)(end - p));
        return NULL;
    }
    p += a->tag_len;
    int64_t index = number(&p, end), stamp = -1;
    if (index >= 0 && p < end && *p++ == ':')
        stamp = number(&p, end);
    if (stamp < 0 || (uint64_t)stamp > now) {
        fault(a, TEXT, start, (size_t)(end - start));
        return NULL;
    }
    if (a->stream) {
        tally.events++;
        histogram_add(&tally.event_ns, now - (uint64_t)stamp);
    }
    count_index(a, index, start, (size_t)(end - start));
    return p;
}

/* --- events ------------------------------------------------------------------------------- */

/* An event with no token in it: the role, the finish reason, or what should not be here. */
static void bare_event(struct answer *a, const char *p, size_t n) {
    if (find(p, n, "\"error\":")) {
        fault(a, ERROR_EVENT, p, n);
    } else if (find(p, n, "\"finish_reason\":\"stop\"")) {
        if (a->finished)
            fault(a, DOUBLED, p, n);
        a->finished = true;
    } else if (find(p, n, "\"usage\":{")) {
        fault(a, USAGE, p, n);
    } else if (find(p, n, "\"role\":\"assistant\"") && !a->seen) {
        if (a->opened)
            fault(a, DOUBLED, p, n);
        a->opened = true;
    } else {
        fault(a, TEXT, p, n);
    }
}

/* Compare what surrounds the token with the first event's, or keep it if this is the first. */
static void check_frame(struct answer *a, const char *p, size_t n, size_t before, size_t after) {
    if (!a->before && before + after <= FRAME) {
        a->before = before;
        a->after = after;
        memcpy(a->frame, p, before);
        memcpy(a->frame + before, p + n - after, after);
    }
    if (before != a->before || after != a->after || memcmp(p, a->frame, before) != 0 ||
        memcmp(p + n - after, a->frame + before, after) != 0)
        fault(a, TEXT, p, n);
}

static void token_event(struct answer *a, const char *p, size_t n, const char *text, uint64_t now) {
    const char *end = token(a, text, p + n, now);
    if (!end)
        return;
    if (a->finished)
        fault(a, ORDER, p, n);
    if (a->seen == 1)
        histogram_add(&tally.answer_ns, now - a->asked);
    check_frame(a, p, n, (size_t)(text - p), (size_t)(p + n - end));
}

static void event(struct answer *a, const char *p, size_t n, uint64_t now) {
    while (n > 0 && *p == ':') { /* a heartbeat is legal, alone or before the data line */
        const char *eol = memchr(p, '\n', n);
        tally.comments++;
        if (!eol)
            return;
        n -= (size_t)(eol + 1 - p);
        p = eol + 1;
    }
    if (a->done)
        fault(a, AFTER_DONE, p, n);
    if (n == 12 && memcmp(p, "data: [DONE]", 12) == 0) {
        a->done = true;
        return;
    }
    if (n < 6 || memcmp(p, "data: ", 6) != 0 || memchr(p, '\n', n)) {
        fault(a, TEXT, p, n);
        return;
    }
    /* The search costs more than all the rest: look first where the token was before. */
    const char *text = p + a->before;
    if (!a->before || n <= a->before || memcmp(p, a->frame, a->before) != 0)
        text = find(p, n, "\"content\":\"");
    if (text && *text != '"')
        token_event(a, p, n, text, now);
    else
        bare_event(a, p, n);
}

/* Check the whole events in these bytes; return how many bytes they take. */
static size_t events(struct answer *a, const char *p, size_t n, uint64_t now) {
    const char *start = p, *end = p + n, *eol = p;
    while ((eol = memchr(eol, '\n', (size_t)(end - eol))) && ++eol < end) {
        if (*eol == '\n') {
            event(a, start, (size_t)(eol - 1 - start), now);
            start = ++eol;
        }
    }
    return (size_t)(start - p);
}

/* --- the body ----------------------------------------------------------------------------- */

/* Move bytes to the hold; return how many, 0 if it is full. */
static size_t hold(struct answer *a, const char *p, size_t n) {
    size_t take = n < HOLD - a->held ? n : HOLD - a->held;
    memcpy(a->hold + a->held, p, take);
    a->held += take;
    a->hold[a->held] = '\0';
    return take;
}

static void stream_body(struct answer *a, const char *p, size_t n, uint64_t now) {
    size_t used = a->held ? 0 : events(a, p, n, now); /* mostly all of it: no copy */
    while (used < n) {
        size_t take = hold(a, p + used, n - used);
        if (take == 0) {
            give_up(a, TEXT, "an event without end", 20);
            return;
        }
        used += take;
        size_t whole = events(a, a->hold, a->held, now);
        a->held -= whole;
        memmove(a->hold, a->hold + whole, a->held);
    }
}

static void end_unary(struct answer *a, uint64_t now) {
    const char *end = a->hold + a->held, *p = find(a->hold, a->held, "\"content\":\"");
    histogram_add(&tally.answer_ns, now - a->asked);
    while (p && p < end && *p != '"')
        if ((p = token(a, p, end, now)) && *p == ' ')
            p++;
    if (!p || p == end || end[-1] != '}')
        fault(a, TEXT, a->hold, a->held);
    if (!find(a->hold, a->held, "\"finish_reason\":\"stop\""))
        fault(a, NO_FINISH, a->hold, a->held);
}

static void end_stream(struct answer *a) {
    if (a->held)
        fault(a, CUT, a->hold, a->held);
    if (!a->opened)
        fault(a, MISSING, "the role", 8);
    if (!a->finished)
        fault(a, NO_FINISH, "", 0);
    if (!a->done)
        fault(a, NO_DONE, "", 0);
}

static void end_answer(struct answer *a, uint64_t now) {
    if (a->phase == BROKEN)
        return;
    a->phase = END;
    tally.answers++;
    if (a->stream)
        end_stream(a);
    else
        end_unary(a, now);
    if (a->seen < a->tokens)
        fault(a, MISSING, "tokens", 6);
}

/* --- HTTP --------------------------------------------------------------------------------- */

/* Return the value if this line is the named field.  Lines end in CR, so no strn… runs on. */
static const char *field(const char *line, const char *name) {
    size_t n = strlen(name);
    if (strncasecmp(line, name, n) != 0 || line[n] != ':')
        return NULL;
    return line + n + 1 + strspn(line + n + 1, " \t");
}

static void take_field(struct answer *a, const char *line) {
    const char *type = a->stream ? "text/event-stream" : "application/json", *value;
    size_t n = strlen(type);
    if ((value = field(line, "content-type"))) {
        a->typed = strncasecmp(value, type, n) == 0 && strchr(";\r ", value[n]);
    } else if ((value = field(line, "transfer-encoding"))) {
        a->chunked = strncasecmp(value, "chunked\r", 8) == 0;
    } else if ((value = field(line, "content-length"))) {
        int64_t length = number(&value, value + 19);
        a->sized = length >= 0 && *value == '\r';
        a->left = (size_t)length;
    } else if ((value = field(line, "connection"))) {
        a->last_on_connection = strncasecmp(value, "close\r", 6) == 0;
    }
}

static void take_head(struct answer *a, const char *p, size_t n) {
    if (strncmp(p, "HTTP/1.1 ", 9) != 0) {
        give_up(a, FRAMING, p, n);
    } else if (strncmp(p + 9, "200 ", 4) != 0) {
        give_up(a, STATUS, p, n);
    } else {
        for (const char *line = strchr(p, '\n') + 1; *line != '\r'; line = strchr(line, '\n') + 1)
            take_field(a, line);
        if (!a->typed)
            give_up(a, CONTENT_TYPE, p, n);
        else if (a->chunked == a->sized)
            give_up(a, FRAMING, p, n);
        else
            a->phase = a->chunked ? SIZE : DATA;
    }
}

/* Take what belongs to the head. */
static size_t feed_head(struct answer *a, const char *p, size_t n) {
    size_t had = a->held, took = hold(a, p, n);
    const char *end = find(a->hold, a->held, "\r\n\r\n");
    if (end && !memchr(a->hold, '\0', (size_t)(end - a->hold))) {
        size_t length = (size_t)(end - a->hold);
        a->hold[length] = '\0';
        a->held = 0;
        take_head(a, a->hold, length);
        return length - had;
    }
    if (end || a->held == HOLD)
        give_up(a, FRAMING, a->hold, a->held);
    return took;
}

static size_t feed_data(struct answer *a, const char *p, size_t n, uint64_t now) {
    size_t take = n < a->left ? n : a->left;
    a->left -= take;
    if (a->stream)
        stream_body(a, p, take, now);
    else if (hold(a, p, take) < take)
        give_up(a, TEXT, "a body too long", 15);
    if (a->left == 0 && a->phase == DATA) {
        if (a->chunked)
            a->phase = DATA_CR;
        else
            end_answer(a, now);
    }
    return take;
}

static void feed_size(struct answer *a, char c) {
    if (isxdigit((unsigned char)c) && a->digits++ < 8)
        a->left = a->left * 16 + (size_t)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    else if (c == '\r' && a->digits > 0)
        a->phase = SIZE_LF;
    else
        give_up(a, FRAMING, &c, 1);
}

/* Take a byte that can only be one, and go where it leads. */
static void feed_fixed(struct answer *a, char c, uint64_t now) {
    static const struct { char byte; enum phase next; } must[] = {
        [SIZE_LF] = {'\n', DATA}, [DATA_CR] = {'\r', DATA_LF}, [DATA_LF] = {'\n', SIZE},
        [LAST_CR] = {'\r', LAST_LF}, [LAST_LF] = {'\n', END},
    };
    if (c != must[a->phase].byte) {
        give_up(a, FRAMING, &c, 1);
        return;
    }
    a->phase = must[a->phase].next;
    if (a->phase == DATA && a->left == 0)
        a->phase = LAST_CR; /* the last chunk; we ask for no trailers */
    else if (a->phase == SIZE)
        a->digits = 0;
    else if (a->phase == END)
        end_answer(a, now);
}

size_t answer_feed(struct answer *a, const char *p, size_t n, uint64_t now) {
    size_t i = 0;
    while (i < n && a->phase < END) {
        if (a->phase == HEAD)
            i += feed_head(a, p + i, n - i);
        else if (a->phase == DATA)
            i += feed_data(a, p + i, n - i, now);
        else if (a->phase == SIZE)
            feed_size(a, p[i++]);
        else
            feed_fixed(a, p[i++], now);
    }
    return i;
}
