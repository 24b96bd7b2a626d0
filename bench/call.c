/*
 * The few members of a request body that say what to answer.
 *
 * A scanner, not a parser: it steps over values without looking at what they are, but knows strings
 * and nesting, so it never takes a prompt that quotes an option for the option.  What it does
 * not know it refuses: an option passed over in silence would be measured as if it were kept.
 */
#include "call.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* As the mock has it: keeps a slip of the pen from sending for days. */
static const long MOST_TOKENS = 10000000;

struct member {
    const char *name, *value, *end; /* name: without quotes; end: of the value */
    size_t length;                  /* of the name */
};

static const char *past_space(const char *p) {
    return p + strspn(p, " \t\r\n");
}

/* Each of these returns NULL where the text ends first. */
static const char *past_string(const char *p) {
    while (*++p != '"') {
        if (*p == '\\')
            p++;
        if (*p == '\0')
            return NULL;
    }
    return p + 1;
}

static const char *past_nested(const char *p) {
    int depth = 0;
    do {
        depth += (*p == '{' || *p == '[') - (*p == '}' || *p == ']');
        p = *p == '"' ? past_string(p) : p + 1;
    } while (p && *p != '\0' && depth > 0);
    return depth == 0 ? p : NULL;
}

static const char *past_value(const char *p) {
    if (*p == '"')
        return past_string(p);
    if (*p == '{' || *p == '[')
        return past_nested(p);
    size_t n = strcspn(p, ",}] \t\r\n");
    return n > 0 ? p + n : NULL;
}

/* Read the member after the `{` or `,` at *at, and step to what follows it; false: there is none. */
static bool next_member(const char **at, struct member *m) {
    const char *p = past_space(*at + 1);
    if ((**at != '{' && **at != ',') || *p != '"')
        return false;
    m->name = p + 1;
    if (!(p = past_string(p)))
        return false;
    m->length = (size_t)(p - 1 - m->name);
    p = past_space(p);
    if (*p != ':')
        return false;
    m->value = past_space(p + 1);
    if (!(m->end = past_value(m->value)))
        return false;
    *at = past_space(m->end);
    return true;
}

static bool named(const struct member *m, const char *name) {
    return m->length == strlen(name) && memcmp(m->name, name, m->length) == 0;
}

static bool is_true(const struct member *m) {
    return m->end - m->value == 4 && memcmp(m->value, "true", 4) == 0;
}

/* Copy a string, in its quotes or without; it has no escapes, so it is the same as JSON. */
static bool read_string(const struct member *m, char *to, bool quotes) {
    const char *start = m->value + !quotes;
    size_t n = (size_t)(m->end - m->value) - (quotes ? 0 : 2);
    if (*m->value != '"' || n >= NAME || memchr(start, '\\', n))
        return false;
    memcpy(to, start, n);
    to[n] = '\0';
    return true;
}

static bool read_number(const struct member *m, double most, double *to) {
    char *end;
    *to = strtod(m->value, &end);
    return end == m->end && *to >= 0 && *to <= most;
}

static bool read_option(struct call *call, const struct member *m) {
    double number;
    if (named(m, "stamp"))
        return is_true(m);
    if (named(m, "tag"))
        return read_string(m, call->tag, false);
    if (named(m, "tokens") && read_number(m, (double)MOST_TOKENS, &number))
        return (call->tokens = (long)number) == number;
    if (named(m, "interval") && read_number(m, 1e9, &number)) {
        call->interval = (uint64_t)(number * 1e6);
        return true;
    }
    return false;
}

static bool read_options(struct call *call, const char *at) {
    struct member m;
    while (next_member(&at, &m))
        if (!read_option(call, &m))
            return false;
    return *at == '}' && *call->tag && call->tokens > 0;
}

static bool read_usage(struct call *call, const char *at) {
    struct member m;
    while (next_member(&at, &m))
        if (named(&m, "include_usage"))
            call->usage = is_true(&m);
    return *at == '}';
}

const char *call_read(struct call *call, const char *body) {
    const char *at = past_space(body);
    struct member m;
    memset(call, 0, sizeof *call);
    while (next_member(&at, &m)) {
        if (named(&m, "mock") && !read_options(call, m.value))
            return "mock: expected stamp, a tag, tokens and perhaps an interval";
        if (named(&m, "model") && !read_string(&m, call->model, true))
            return "model: expected a short string";
        if (named(&m, "stream_options") && !read_usage(call, m.value))
            return "stream_options: expected an object";
        if (named(&m, "stream"))
            call->stream = is_true(&m);
    }
    if (*at != '}' || *past_space(at + 1) != '\0')
        return "expected a JSON object";
    return *call->model && *call->tag ? NULL : "expected model and mock";
}
