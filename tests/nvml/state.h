/* What the stand-in for libnvidia-ml.so.1 knows: its state, read from the file, and how every call begins and ends.
 * `libnvidia-ml.c` says what stands in that file. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

typedef int Return;
enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9, TIMEOUT = 10, ARGUMENT_VERSION_MISMATCH = 25
};

#define MIB 1048576ULL
#define RESERVED_MIB 600 /* the driver's own share */
#define MOST_GPUS 16
#define MOST_ENTRIES 64
#define MOST_PAIRS 256
#define MOST_LINKS 18
#define MOST_INSTANCES 7
#define WORD 64
#define XID_EVENTS 8ULL
#define NONE (-1)
#define NOT_TOLD (~0ULL)

typedef struct { char uuid[WORD], name[WORD]; long long total, used, util, temp, power, ecc, mig; } Gpu;
typedef struct { int gpu, place; unsigned pid; long long mib; } Process;
typedef struct { int gpu, other, value; } Pair; /* other NONE: a switch */
typedef struct { long long number; int gpu; unsigned long long xid; } Event;
typedef struct { char function[WORD]; int gpu; Return code; } Rule; /* code SUCCESS: it hangs */
typedef struct {
    long long epoch, delay_us;
    int gpus, processes, rules, events, nears, links;
    Gpu gpu[MOST_GPUS], instance[MOST_GPUS][MOST_INSTANCES]; /* no uuid: there is none */
    Process process[MOST_ENTRIES];
    Rule rule[MOST_ENTRIES];
    Event event[MOST_ENTRIES];
    Pair near[MOST_PAIRS], link[MOST_PAIRS];
} State;
struct device { int gpu, instance; };
struct events { long long epoch, told; int heard[MOST_GPUS]; };

/* As nvml.h has them. */
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } MemoryV2;
typedef struct { unsigned gpu, memory; } Utilization;
typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } ProcessInfo;
typedef struct {
    char legacy_id[16];
    unsigned domain, bus, device, id, subsystem;
    char bus_id[32];
} PciInfo;
typedef struct {
    struct device *device;
    unsigned long long type, data;
    unsigned gpu_instance, compute_instance;
} EventData;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static State state;
static struct stat seen;
static long long begun_in = NONE; /* the epoch in which nvmlInit was called */
static struct device devices[MOST_GPUS], instances[MOST_GPUS][MOST_INSTANCES];

/* ------------------------------------------------------------ the state */

static long long number(const char *text) { return strcmp(text, "-") ? atoll(text) : NONE; }

static int which(const char *text) { return strcmp(text, "*") ? atoi(text) : NONE; }

static void set(Gpu *gpu, char *word) {
    char *value = strchr(word, '=');
    if (!value) return;
    *value++ = 0;
    if (!strcmp(word, "uuid")) snprintf(gpu->uuid, WORD, "%s", value);
    else if (!strcmp(word, "name")) {
        snprintf(gpu->name, WORD, "%s", value);
        for (char *at = gpu->name; *at; at++) if (*at == '_') *at = ' ';
    }
    else if (!strcmp(word, "total")) gpu->total = number(value);
    else if (!strcmp(word, "used")) gpu->used = number(value);
    else if (!strcmp(word, "util")) gpu->util = number(value);
    else if (!strcmp(word, "temp")) gpu->temp = number(value);
    else if (!strcmp(word, "power")) gpu->power = number(value);
    else if (!strcmp(word, "ecc")) gpu->ecc = number(value);
    else if (!strcmp(word, "mig")) gpu->mig = number(value);
}

static void set_all(Gpu *gpu, char *line) {
    char *rest = NULL;
    for (char *word = strtok_r(line, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest)) set(gpu, word);
}

static void take(State *into, char *line) {
    char a[WORD], b[WORD], c[WORD], d[WORD];
    int got = sscanf(line, "%*s %63s %63s %63s %63s", a, b, c, d);
    if (!strncmp(line, "epoch ", 6) && got >= 1) into->epoch = number(a);
    else if (!strncmp(line, "delay ", 6) && got >= 1) into->delay_us = number(a);
    else if (!strncmp(line, "gpu ", 4) && got >= 1 && atoi(a) >= 0 && atoi(a) < MOST_GPUS) {
        Gpu *gpu = &into->gpu[atoi(a)];
        if (atoi(a) >= into->gpus) into->gpus = atoi(a) + 1;
        set_all(gpu, line);
    } else if (!strncmp(line, "instance ", 9) && got >= 2 && (unsigned)atoi(a) < MOST_GPUS
               && (unsigned)atoi(b) < MOST_INSTANCES) {
        Gpu *instance = &into->instance[atoi(a)][atoi(b)];
        instance->util = instance->temp = instance->power = instance->ecc = instance->mig = NONE;
        set_all(instance, line);
    } else if (!strncmp(line, "process ", 8) && got == 4 && into->processes < MOST_ENTRIES)
        into->process[into->processes++] = (Process){atoi(a), (int)number(d), (unsigned)atoi(b), number(c)};
    else if (!strncmp(line, "near ", 5) && got == 3 && into->nears < MOST_PAIRS)
        into->near[into->nears++] = (Pair){atoi(a), atoi(b), atoi(c)};
    else if (!strncmp(line, "links ", 6) && got == 3 && into->links < MOST_PAIRS)
        into->link[into->links++] = (Pair){atoi(a), strcmp(b, "switch") ? atoi(b) : NONE, atoi(c)};
    else if (!strncmp(line, "xid ", 4) && got == 3 && into->events < MOST_ENTRIES)
        into->event[into->events++] = (Event){number(a), atoi(b), (unsigned long long)atoi(c)};
    else if (into->rules < MOST_ENTRIES && ((!strncmp(line, "fail ", 5) && got == 3) || !strncmp(line, "hang ", 5))) {
        Rule *rule = &into->rule[into->rules++];
        snprintf(rule->function, WORD, "%s", a);
        rule->gpu = which(b);
        rule->code = line[0] == 'f' ? atoi(c) : SUCCESS;
    }
}

/* Under the lock. Without a file no driver is loaded. */
static int load(void) {
    const char *path = getenv("NVML_STANDIN_STATE");
    struct stat now;
    if (!path || stat(path, &now)) return 0;
    if (now.st_ino == seen.st_ino && now.st_dev == seen.st_dev && now.st_mtim.tv_sec == seen.st_mtim.tv_sec
        && now.st_mtim.tv_nsec == seen.st_mtim.tv_nsec)
        return 1;
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    char line[512];
    memset(&state, 0, sizeof state);
    while (fgets(line, sizeof line, file)) take(&state, line);
    fclose(file);
    seen = now;
    return 1;
}

static const Rule *rule_for(const char *function, int gpu) {
    for (int i = 0; i < state.rules; i++) {
        const Rule *rule = &state.rule[i];
        if (strcmp(rule->function, "*") && strcmp(rule->function, function)) continue;
        if (rule->gpu == NONE || rule->gpu == gpu) return rule;
    }
    return NULL;
}

static void trace(const char *function, int gpu) {
    const char *path = getenv("NVML_STANDIN_TRACE");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file) return;
    fprintf(file, "%ld %s %d\n", (long)syscall(SYS_gettid), function, gpu);
    fclose(file);
}

/* Every call begins here: it hangs, fails as the state says, or goes on holding the lock. */
static Return begin(const char *function, int gpu) {
    const struct timespec pause = {0, 5 * 1000 * 1000};
    pthread_mutex_lock(&lock);
    trace(function, gpu);
    for (;;) {
        const Rule *rule = NULL;
        Return code = DRIVER_NOT_LOADED;
        if (load()) {
            rule = rule_for(function, gpu);
            int starting = !strncmp(function, "nvmlInit", 8);
            code = rule ? rule->code : !starting && begun_in != state.epoch ? UNINITIALIZED : SUCCESS;
        }
        if (code == SUCCESS && !rule) {
            if (state.delay_us > 0) usleep((useconds_t)state.delay_us);
            return SUCCESS;
        }
        pthread_mutex_unlock(&lock);
        if (code != SUCCESS) return code;
        nanosleep(&pause, NULL);
        pthread_mutex_lock(&lock);
    }
}

static Return end(Return code) {
    pthread_mutex_unlock(&lock);
    return code;
}

#define BEGIN(gpu) do { Return told = begin(__func__, gpu); if (told) return told; } while (0)
#define DEVICE(device) \
    if (!(device) || (device)->gpu < 0 || (device)->gpu >= MOST_GPUS) return INVALID_ARGUMENT; \
    BEGIN((device)->gpu); \
    const Gpu *gpu = figures(device); \
    if (!gpu->uuid[0]) return end(NOT_FOUND)

static const Gpu *figures(const struct device *device) {
    return device->instance == NONE ? &state.gpu[device->gpu] : &state.instance[device->gpu][device->instance];
}
