/* The lower bound for any service: answers every message and stores nothing. Uses libmosquitto.
 *
 *   echo PORT
 */
#include <mosquitto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const filters[] = {
    "claimsvc/u/+/v1/devices/me/claim",
    "claimsvc/u/+/v1/gateway/claim",
    "claimsvc/u/+/request/+/POST/api/customer/device/+/claim",
};

static void on_connect(struct mosquitto *client, void *data, int code) {
    (void)data;
    if (code) {
        fprintf(stderr, "echo: the broker refuses the connection\n");
        exit(1);
    }
    for (size_t k = 0; k < sizeof filters / sizeof *filters; k++)
        mosquitto_subscribe(client, NULL, filters[k], 1);
    puts("ready");
    fflush(stdout);
}

static void on_message(struct mosquitto *client, void *data, const struct mosquitto_message *message) {
    static const char window[] = "{\"status\":\"SUCCESS\",\"expirationTime\":1795316740076}";
    static const char claim[] = "{\"status\":200,\"body\":{\"response\":\"SUCCESS\"}}";
    char topic[256];
    char *request = strstr(message->topic, "/request/");
    const char *payload = request ? claim : window;
    (void)data;
    if (request) {
        char *id = request + strlen("/request/");
        snprintf(topic, sizeof topic, "%.*s/response/%.*s", (int)(request - message->topic), message->topic,
                 (int)strcspn(id, "/"), id);
    } else {
        snprintf(topic, sizeof topic, "%s/response", message->topic);
    }
    mosquitto_publish(client, NULL, topic, (int)strlen(payload), payload, 1, false);
}

int main(int argc, char **argv) {
    if (argc != 2)
        return 2;
    mosquitto_lib_init();
    struct mosquitto *client = mosquitto_new("echo", true, NULL);
    mosquitto_username_pw_set(client, "claimsvc", "claimsvc");
    mosquitto_int_option(client, MOSQ_OPT_TCP_NODELAY, 1);
    mosquitto_max_inflight_messages_set(client, 0);
    mosquitto_connect_callback_set(client, on_connect);
    mosquitto_message_callback_set(client, on_message);
    if (mosquitto_connect(client, "127.0.0.1", atoi(argv[1]), 60))
        return 1;
    return mosquitto_loop_forever(client, -1, 1);
}
