/* The load generator: one MQTT 3.1.1 connection on raw sockets, so that it is never the bottleneck.
 *
 *   loadgen PORT MODE FIRST COUNT OUTSTANDING RATE [DEVICES]
 *
 * MODE window|claim|gateway|mix|lane|flood|poll. Each message i (FIRST <= i < FIRST + COUNT) is sent and answered once:
 *   window   claimsvc/u/dev<i>/v1/devices/me/claim
 *   claim    claimsvc/u/user<i % 100>/request/<i>/POST/api/customer/device/dev<i>/claim
 *   gateway  claimsvc/u/gw<i>/v1/gateway/claim, 1000 devices each
 *   mix      windows; every tenth message is a claim of a device whose window was opened before
 *   lane     COUNT windows of the device dev<FIRST>, on a connection that receives only the answers to them, as a
 *            device's connection would. Answers have no number and come in order, so they are matched by counting.
 *   flood    the same for COUNT seconds
 *   poll     claimsvc/c/bootstrap/wait<k>/s/ucr, k in FIRST ... FIRST+DEVICES-1, each again after DEVICES messages: new
 *            devices that wait for acceptance. They get no answers: the broker's PUBACK counts, and an answer counts as
 *            failed.
 * RATE 0: saturation with OUTSTANDING unanswered messages. RATE > 0: open loop with RATE messages per second. The time of
 * a message counts from when it was due, not from when it was sent.
 * DEVICES > 0 (window, claim): the messages are spread over dev0 ... dev<DEVICES-1> in mixed order. DEVICES must not be a
 * multiple of 700001 and must be far above OUTSTANDING. The key of dev<k> is always value<k>.
 * Prints one JSON object: answers, seconds, per_second, latencies in ms, lost, twice, cpu_s; `failed` counts answers
 * without success, and `limited` those of them with rate_limited.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_S = 30, GATEWAY_DEVICES = 1000, CLAIM_EVERY = 10, FLOOD_MOST = 10000000 };

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

struct buffer {
    unsigned char *data;
    size_t length, capacity, start;
};

static void reserve(struct buffer *b, size_t more) {
    if (b->start > 0 && b->start == b->length)
        b->start = b->length = 0;
    if (b->length + more <= b->capacity)
        return;
    if (b->start > 0) {
        memmove(b->data, b->data + b->start, b->length - b->start);
        b->length -= b->start;
        b->start = 0;
    }
    while (b->length + more > b->capacity)
        b->capacity = b->capacity ? b->capacity * 2 : 1 << 20;
    b->data = realloc(b->data, b->capacity);
    if (!b->data)
        abort();
}

static void append(struct buffer *b, const void *data, size_t length) {
    reserve(b, length);
    memcpy(b->data + b->length, data, length);
    b->length += length;
}

static void append_head(struct buffer *b, unsigned char type, size_t remaining) {
    unsigned char head[5] = {type};
    int n = 1;
    do {
        head[n++] = (unsigned char)((remaining & 127) | (remaining > 127 ? 128 : 0));
        remaining >>= 7;
    } while (remaining);
    append(b, head, (size_t)n);
}

static void append_text(struct buffer *b, const char *text) {
    size_t length = strlen(text);
    unsigned char size[2] = {(unsigned char)(length >> 8), (unsigned char)length};
    append(b, size, 2);
    append(b, text, length);
}

static void publish(struct buffer *out, const char *topic, const char *payload, size_t length, unsigned id) {
    unsigned char mid[2] = {(unsigned char)(id >> 8), (unsigned char)id};
    append_head(out, 0x32, 2 + strlen(topic) + 2 + length);
    append_text(out, topic);
    append(out, mid, 2);
    append(out, payload, length);
}

static const char *mode;
static long devices, *message_of; /* message_of[device number]: the message that opened its window last */
static long lane = -1;            /* the device of modes lane and flood */
static long first_poller = -1;    /* the first device of mode poll */
enum { STEP = 700001 };           /* a prime: visits all devices in mixed order */

static long device_of(long i) {
    return lane >= 0 ? lane : devices ? i * STEP % devices : i;
}

static int is_claim(long i) {
    return !strcmp(mode, "claim") || (!strcmp(mode, "mix") && i % CLAIM_EVERY == CLAIM_EVERY - 1);
}

static void send_message(struct buffer *out, long i) {
    char topic[160], payload[128];
    unsigned id = (unsigned)(i % 65535) + 1;
    if (first_poller >= 0) {
        sprintf(topic, "claimsvc/c/bootstrap/wait%ld/s/ucr", first_poller + device_of(i - first_poller));
        publish(out, topic, "", 0, id);
        return;
    }
    if (!strcmp(mode, "gateway")) {
        static char *body;
        if (!body)
            body = malloc(GATEWAY_DEVICES * 80);
        size_t n = 0;
        for (int k = 0; k < GATEWAY_DEVICES; k++)
            n += (size_t)sprintf(body + n, "%s\"gw%ld-%d\":{\"secretKey\":\"value\",\"durationMs\":60000}", k ? "," : "{", i, k);
        body[n++] = '}';
        sprintf(topic, "claimsvc/u/gw%ld/v1/gateway/claim", i);
        publish(out, topic, body, n, id);
        return;
    }
    if (is_claim(i)) {
        long device = strcmp(mode, "mix") ? device_of(i) : i - CLAIM_EVERY + 1; /* in a mix: opened a little earlier */
        sprintf(topic, "claimsvc/u/user%ld/request/%ld/POST/api/customer/device/dev%ld/claim", i % 100, i, device);
        publish(out, topic, payload, (size_t)sprintf(payload, "{\"secretKey\":\"value%ld\"}", device), id);
    } else {
        long device = device_of(i);
        if (devices)
            message_of[device] = i;
        sprintf(topic, "claimsvc/u/dev%ld/v1/devices/me/claim", device);
        int n = sprintf(payload, "{\"secretKey\":\"value%ld\",\"durationMs\":86400000,\"note\":\"0123456789\"}", device);
        publish(out, topic, payload, (size_t)n, id);
    }
}

/* The number of the message that an answer's topic belongs to, or -1. */
static long answered(const char *topic, size_t length) {
    char text[200];
    if (length >= sizeof text)
        return -1;
    memcpy(text, topic, length);
    text[length] = 0;
    const char *number = strstr(text, "/response/");
    if (number)
        return atol(number + strlen("/response/"));
    number = text + strlen("claimsvc/u/");
    while (*number && (*number < '0' || *number > '9'))
        number++;
    if (!*number)
        return -1;
    return devices ? message_of[atol(number) % devices] : atol(number);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int connect_to(int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) {
        perror("connect");
        exit(1);
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct buffer hello = {0};
    char id[32];
    sprintf(id, "loadgen-%d", (int)getpid());
    append_head(&hello, 0x10, 10 + 2 + strlen(id) + 2 + 8 + 2 + 8);
    append_text(&hello, "MQTT");
    append(&hello, "\x04\xc2\x00\x00", 4);
    append_text(&hello, id);
    append_text(&hello, "loadtest");
    append_text(&hello, "loadtest");
    char own[100];
    snprintf(own, sizeof own, "claimsvc/u/dev%ld/v1/devices/me/claim/response", lane);
    const char *filters[] = {lane >= 0           ? own
                             : first_poller >= 0 ? "claimsvc/c/bootstrap/+/s/dcr"
                                                 : "claimsvc/u/+/v1/devices/me/claim/response",
                             "claimsvc/u/+/v1/gateway/claim/response", "claimsvc/u/+/response/+"};
    int wanted = lane >= 0 || first_poller >= 0 ? 1 : 3;
    size_t size = 2;
    for (int k = 0; k < wanted; k++)
        size += strlen(filters[k]) + 3;
    append_head(&hello, 0x82, size);
    append(&hello, "\x00\x01", 2);
    for (int k = 0; k < wanted; k++) {
        append_text(&hello, filters[k]);
        append(&hello, "\x00", 1);
    }
    unsigned char reply[11];
    size_t got = 0, whole = 4 + 2 + 2 + (size_t)wanted; /* CONNACK, then SUBACK with a code for each filter */
    if (write(fd, hello.data, hello.length) != (ssize_t)hello.length)
        exit(1);
    while (got < whole) {
        ssize_t n = read(fd, reply + got, whole - got);
        if (n <= 0 || (got + (size_t)n >= 4 && reply[3])) {
            fprintf(stderr, "loadgen: the broker refuses the connection\n");
            exit(1);
        }
        got += (size_t)n;
    }
    free(hello.data);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

int main(int argc, char **argv) {
    if (argc != 7 && argc != 8) {
        fprintf(stderr, "usage: loadgen PORT MODE FIRST COUNT OUTSTANDING RATE [DEVICES]\n");
        return 2;
    }
    mode = argv[2];
    long first = atol(argv[3]), count = atol(argv[4]), outstanding = atol(argv[5]);
    double rate = atof(argv[6]);
    devices = argc == 8 ? atol(argv[7]) : 0;
    if (devices && !(message_of = calloc((size_t)devices, sizeof *message_of)))
        return 1;
    int is_flood = !strcmp(mode, "flood");
    if (is_flood || !strcmp(mode, "lane"))
        lane = first;
    if (!strcmp(mode, "poll") && devices)
        first_poller = first;
    int64_t flood_us = is_flood ? count * 1000000 : 0;
    if (is_flood)
        count = FLOOD_MOST;
    int fd = connect_to(atoi(argv[1]));
    int64_t *due = calloc((size_t)count, sizeof *due);
    double *latency = malloc((size_t)count * sizeof *latency);
    unsigned char *seen = calloc((size_t)count, 1);
    long sent = 0, got = 0, twice = 0, failed = 0, limited = 0;
    struct buffer out = {0}, in = {0};
    int64_t begin = now_us(), last = begin;
    while (got < count && now_us() - last < (int64_t)PATIENCE_S * 1000000) {
        int64_t now = now_us();
        if (is_flood && now - begin > flood_us && count > sent)
            count = sent; /* still wait for the answers to sent messages */
        while (sent < count && out.length - out.start < (1 << 20)) {
            int64_t when = rate > 0 ? begin + (int64_t)((double)sent * 1e6 / rate) : now;
            if (rate > 0 ? when > now : sent - got >= outstanding)
                break;
            due[sent] = when;
            send_message(&out, first + sent++);
        }
        struct pollfd p = {fd, POLLIN, 0};
        if (out.length > out.start)
            p.events |= POLLOUT;
        poll(&p, 1, rate > 0 && sent < count ? 1 : 100);
        if (p.revents & POLLOUT) {
            ssize_t n = write(fd, out.data + out.start, out.length - out.start);
            if (n > 0)
                out.start += (size_t)n;
        }
        if (!(p.revents & POLLIN))
            continue;
        reserve(&in, 1 << 20);
        ssize_t n = read(fd, in.data + in.length, in.capacity - in.length);
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            fprintf(stderr, "loadgen: the broker closed the connection\n");
            return 1;
        }
        if (n > 0)
            in.length += (size_t)n;
        now = now_us();
        for (;;) {
            size_t have = in.length - in.start, size = 0, head = 1;
            const unsigned char *d = in.data + in.start;
            int complete = 0;
            for (int shift = 0; head < have && head < 5 && !complete; shift += 7) {
                size |= (size_t)(d[head] & 127) << shift;
                complete = !(d[head++] & 128);
            }
            if (!complete || have < head + size)
                break;
            if (first_poller >= 0 && (d[0] & 0xf0) == 0x40 && got < sent) {
                latency[got] = (double)(now - due[got]) / 1000; /* a broker acknowledges in order */
                got++;
                last = now;
            } else if (first_poller >= 0 && (d[0] & 0xf0) == 0x30) {
                failed++;
            } else if ((d[0] & 0xf0) == 0x30) {
                size_t length = (size_t)d[head] << 8 | d[head + 1];
                const char *payload = (const char *)d + head + 2 + length;
                long i = lane >= 0 ? got : answered((const char *)d + head + 2, length) - first;
                if (i >= 0 && i < sent) {
                    if (seen[i]) {
                        twice++;
                    } else {
                        seen[i] = 1;
                        latency[got++] = (double)(now - due[i]) / 1000;
                        failed += !memmem(payload, size - 2 - length, "SUCCESS", 7);
                        limited += memmem(payload, size - 2 - length, "rate_limited", 12) != NULL;
                    }
                    last = now;
                }
            }
            in.start += head + size;
        }
    }
    double seconds = (double)(last - begin) / 1e6;
    qsort(latency, (size_t)got, sizeof *latency, compare);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
#define P(q) (got ? latency[(long)((double)(got - 1) * (q))] : 0)
    printf("{\"answers\":%ld,\"seconds\":%.3f,\"per_second\":%.0f,\"p50\":%.2f,\"p99\":%.2f,\"p999\":%.2f,\"max\":%.2f,"
           "\"lost\":%ld,\"twice\":%ld,\"failed\":%ld,\"limited\":%ld,\"cpu_s\":%.2f}\n",
           got, seconds, seconds > 0 ? (double)got / seconds : 0, P(.5), P(.99), P(.999), P(1), count - got, twice, failed, limited, cpu);
    return 0;
}
