/* A stand-in for libnvidia-ml.so.1: a test double with the symbols, structures and error codes of NVML (driver 550).
 *
 *     gcc -shared -fPIC -pthread -Wl,-soname,libnvidia-ml.so.1 -o libnvidia-ml.so.1 libnvidia-ml.c
 *
 * It drives nothing. What it answers stands in the text file that NVML_STANDIN_STATE names, which the test replaces
 * (by renaming) while the process runs; every call looks whether it is another file. One thing a line:
 *
 *     epoch N                          the driver's load: whoever began under another one is told UNINITIALIZED
 *     delay MICROSECONDS               how long every call takes
 *     gpu INDEX KEY=VALUE ...          a device: uuid name total used (MiB) util temp power (mW) ecc mig;
 *                                      `-` for what it does not have (NOT_SUPPORTED); spaces in a name are `_`
 *     instance GPU PLACE KEY=VALUE ... a MIG instance of it, as far as its mode says so: uuid name total used
 *     process GPU PID MIB PLACE        a process that computes on it, on an instance or (`-`) on the whole; MIB `-`: the
 *                                      driver does not tell
 *     near GPU GPU LEVEL               what two devices have in common on the PCI bus, as NVML numbers it
 *     links GPU PEER COUNT             NVLinks that are up; PEER `switch`: they go to an NVSwitch
 *     xid NUMBER GPU XID               an error that the driver tells of; numbers rise, so that each is told once
 *     fail FUNCTION GPU CODE           what this function answers for this device; `*` for any of either
 *     hang FUNCTION GPU                it does not return for as long as the file says so
 *
 * As in the real one, memory of version 1 counts the driver's own share as used and version 2 does not; lists are
 * asked for twice, first for their length; a GPU in MIG mode has no utilization. Where NVML_STANDIN_TRACE names a
 * file, every call appends a line there: thread id, function, device. That proves which thread called.
 */

#include "state.h"

static Return answer(unsigned *into, long long value) {
    if (value != NONE) *into = (unsigned)value;
    return end(value == NONE ? NOT_SUPPORTED : SUCCESS);
}

static Return text(char *into, unsigned size, const char *value) {
    if (!strcmp(value, "-")) return end(NOT_SUPPORTED);
    if (strlen(value) >= size) return end(INSUFFICIENT_SIZE);
    strcpy(into, value);
    return end(SUCCESS);
}

/* ------------------------------------------------------------ the driver */

Return nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    BEGIN(NONE);
    begun_in = state.epoch;
    return end(SUCCESS);
}

Return nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

Return nvmlShutdown(void) {
    BEGIN(NONE);
    begun_in = NONE;
    return end(SUCCESS);
}

const char *nvmlErrorString(Return code) {
    trace(__func__, NONE);
    return code == SUCCESS ? "Success" : "An error of the stand-in";
}

Return nvmlSystemGetDriverVersion(char *version, unsigned length) {
    BEGIN(NONE);
    return text(version, length, "550.54.15");
}

Return nvmlDeviceGetCount_v2(unsigned *count) {
    BEGIN(NONE);
    return answer(count, state.gpus);
}

Return nvmlDeviceGetHandleByIndex_v2(unsigned index, struct device **device) {
    BEGIN((int)index);
    if (index >= (unsigned)state.gpus) return end(INVALID_ARGUMENT);
    devices[index] = (struct device){(int)index, NONE};
    *device = &devices[index];
    return end(SUCCESS);
}

/* ------------------------------------------------------------ one device */

Return nvmlDeviceGetUUID(struct device *device, char *uuid, unsigned length) {
    DEVICE(device);
    return text(uuid, length, gpu->uuid);
}

Return nvmlDeviceGetName(struct device *device, char *name, unsigned length) {
    DEVICE(device);
    return text(name, length, gpu->name);
}

Return nvmlDeviceGetMemoryInfo(struct device *device, Memory *memory) {
    DEVICE(device);
    memory->total = gpu->total * MIB;
    memory->used = (gpu->used + RESERVED_MIB) * MIB;
    memory->free = memory->total - memory->used;
    return end(SUCCESS);
}

Return nvmlDeviceGetMemoryInfo_v2(struct device *device, MemoryV2 *memory) {
    DEVICE(device);
    if (memory->version != (sizeof *memory | 2U << 24)) return end(ARGUMENT_VERSION_MISMATCH);
    memory->total = gpu->total * MIB;
    memory->reserved = RESERVED_MIB * MIB;
    memory->used = gpu->used * MIB;
    memory->free = memory->total - memory->used - memory->reserved;
    return end(SUCCESS);
}

Return nvmlDeviceGetUtilizationRates(struct device *device, Utilization *rates) {
    DEVICE(device);
    rates->memory = 0;
    return answer(&rates->gpu, gpu->mig == 1 ? NONE : gpu->util);
}

Return nvmlDeviceGetTemperature(struct device *device, unsigned sensor, unsigned *degrees) {
    DEVICE(device);
    return sensor ? end(INVALID_ARGUMENT) : answer(degrees, gpu->temp);
}

Return nvmlDeviceGetPowerUsage(struct device *device, unsigned *milliwatt) {
    DEVICE(device);
    return answer(milliwatt, gpu->power);
}

Return nvmlDeviceGetTotalEccErrors(struct device *device, unsigned type, unsigned counter, unsigned long long *count) {
    DEVICE(device);
    if (type > 1 || counter > 1) return end(INVALID_ARGUMENT);
    if (gpu->ecc == NONE) return end(NOT_SUPPORTED);
    *count = type == 0 ? 12345 : counter == 0 ? (unsigned long long)gpu->ecc : 777; /* corrected; volatile; aggregate */
    return end(SUCCESS);
}

/* ------------------------------------------------------------ processes */

static Return list(struct device *device, unsigned *count, ProcessInfo *infos) {
    unsigned found = 0, room = *count;
    for (int i = 0; i < state.processes; i++) {
        const Process *process = &state.process[i];
        if (process->gpu != device->gpu || (device->instance != NONE && device->instance != process->place)) continue;
        if (infos && found < room)
            infos[found] = (ProcessInfo){process->pid, process->mib == NONE ? NOT_TOLD : process->mib * MIB, ~0U, ~0U};
        found++;
    }
    *count = found;
    return end(found > room ? INSUFFICIENT_SIZE : SUCCESS);
}

Return nvmlDeviceGetComputeRunningProcesses_v3(struct device *device, unsigned *count, ProcessInfo *infos) {
    DEVICE(device);
    return list(device, count, infos);
}

Return nvmlDeviceGetComputeRunningProcesses_v2(struct device *device, unsigned *count, ProcessInfo *infos) {
    DEVICE(device);
    return list(device, count, infos);
}

/* ------------------------------------------------------------ topology */

static Return pci(PciInfo *info, int gpu) {
    memset(info, 0, sizeof *info);
    info->bus = gpu == NONE ? 0xc0 : 0x10 + (unsigned)gpu;
    snprintf(info->bus_id, sizeof info->bus_id, "00000000:%02X:00.0", info->bus);
    return end(SUCCESS);
}

Return nvmlDeviceGetPciInfo_v3(struct device *device, PciInfo *info) {
    DEVICE(device);
    return pci(info, device->gpu);
}

Return nvmlDeviceGetTopologyCommonAncestor(struct device *device, struct device *other, unsigned *level) {
    DEVICE(device);
    for (int i = 0; i < state.nears; i++) {
        const Pair *pair = &state.near[i];
        if ((pair->gpu == device->gpu && pair->other == other->gpu)
            || (pair->gpu == other->gpu && pair->other == device->gpu))
            return answer(level, pair->value);
    }
    return end(NOT_SUPPORTED);
}

/* The other end of a link: 1, or 0 where it is down. Links are numbered in the order of the file. */
static int link_end(int gpu, unsigned link, int *other) {
    for (int i = 0; i < state.links; i++) {
        if (state.link[i].gpu != gpu) continue;
        *other = state.link[i].other;
        if (link < (unsigned)state.link[i].value) return 1;
        link -= (unsigned)state.link[i].value;
    }
    return 0;
}

static int has_links(int gpu) {
    int other;
    return link_end(gpu, 0, &other);
}

#define LINK(device, link) \
    DEVICE(device); \
    int other = NONE; \
    if (!has_links((device)->gpu)) return end(NOT_SUPPORTED); \
    if ((link) >= MOST_LINKS) return end(INVALID_ARGUMENT); \
    int up = link_end((device)->gpu, link, &other)

Return nvmlDeviceGetNvLinkState(struct device *device, unsigned link, unsigned *active) {
    LINK(device, link);
    return answer(active, up);
}

Return nvmlDeviceGetNvLinkRemoteDeviceType(struct device *device, unsigned link, unsigned *type) {
    LINK(device, link);
    if (!up) return end(NOT_SUPPORTED);
    return answer(type, other == NONE ? 2 : 0);
}

Return nvmlDeviceGetNvLinkRemotePciInfo_v2(struct device *device, unsigned link, PciInfo *info) {
    LINK(device, link);
    return up ? pci(info, other) : end(NOT_SUPPORTED);
}

/* ------------------------------------------------------------ events */

Return nvmlEventSetCreate(struct events **set) {
    BEGIN(NONE);
    *set = calloc(1, sizeof **set);
    (*set)->epoch = state.epoch;
    if (state.events) (*set)->told = state.event[state.events - 1].number;
    return end(SUCCESS);
}

Return nvmlEventSetFree(struct events *set) {
    free(set);
    return SUCCESS;
}

Return nvmlDeviceRegisterEvents(struct device *device, unsigned long long types, struct events *set) {
    DEVICE(device);
    if (types != XID_EVENTS) return end(NOT_SUPPORTED);
    set->heard[device->gpu] = 1;
    return end(SUCCESS);
}

static const Event *next_event(struct events *set) {
    for (int i = 0; i < state.events; i++) {
        const Event *event = &state.event[i];
        if (event->number <= set->told) continue;
        set->told = event->number;
        if (event->gpu >= 0 && event->gpu < MOST_GPUS && set->heard[event->gpu]) return event;
    }
    return NULL;
}

/* Waits without the lock, as the real one does: readings go on meanwhile. */
Return nvmlEventSetWait_v2(struct events *set, EventData *data, unsigned timeout_ms) {
    const struct timespec pause = {0, 5 * 1000 * 1000};
    for (unsigned waited_ms = 0;; waited_ms += 5) {
        BEGIN(NONE);
        if (set->epoch != state.epoch) return end(INVALID_ARGUMENT);
        const Event *event = next_event(set);
        if (event) {
            *data = (EventData){&devices[event->gpu], XID_EVENTS, event->xid, ~0U, ~0U};
            return end(SUCCESS);
        }
        end(SUCCESS);
        if (waited_ms >= timeout_ms) return TIMEOUT;
        nanosleep(&pause, NULL);
    }
}

/* ------------------------------------------------------------ MIG */

Return nvmlDeviceGetMigMode(struct device *device, unsigned *current, unsigned *pending) {
    DEVICE(device);
    if (gpu->mig == NONE) return end(NOT_SUPPORTED);
    *current = *pending = (unsigned)gpu->mig;
    return end(SUCCESS);
}

Return nvmlDeviceGetMaxMigDeviceCount(struct device *device, unsigned *count) {
    DEVICE(device);
    return answer(count, gpu->mig == NONE ? 0 : MOST_INSTANCES);
}

Return nvmlDeviceGetMigDeviceHandleByIndex(struct device *device, unsigned index, struct device **instance) {
    DEVICE(device);
    if (index >= MOST_INSTANCES) return end(INVALID_ARGUMENT);
    if (gpu->mig != 1 || !state.instance[device->gpu][index].uuid[0]) return end(NOT_FOUND);
    instances[device->gpu][index] = (struct device){device->gpu, (int)index};
    *instance = &instances[device->gpu][index];
    return end(SUCCESS);
}
