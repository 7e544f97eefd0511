// A Vulkan driver (ICD) that is Mesa's lavapipe with one answer changed, so that Dawn accepts it as a test device, and
// with an end to its memory where the environment's LAVAPIPE_MEMORY says how many bytes all allocations may have.
//
// Dawn takes a Vulkan device for WebGPU only if resource arrays can be indexed dynamically. Debian 12's lavapipe
// denies four such features (for images, uniform and storage buffers). WebGPU's compute kernels have no arrays of
// resources and never use them, so this driver reports them as present, and takes them out again of what the
// application enables, which the real driver would refuse.
//
// The few declarations below are Vulkan 1.3's (sections 4.2.1 and 5.2.1, vk_layer.h of the loader); with them the
// file compiles without the Vulkan headers:   python -m ziglang cc -shared -fPIC -O2 lavapipe_shim.c -o ...
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { OUT_OF_DEVICE_MEMORY = -2, INITIALIZATION_FAILED = -3, FEATURES_2 = 1000059000, FEATURE_COUNT = 55 };
enum { FIRST_ARRAY_FEATURE = 33, LAST_ARRAY_FEATURE = 36 }; // shader{Uniform,Storage}BufferArrayDynamicIndexing, ...

typedef uint32_t Features[FEATURE_COUNT]; // VkPhysicalDeviceFeatures, all VkBool32
typedef struct Chain { uint32_t type; struct Chain *next; } Chain;
typedef struct { Chain head; Features features; } Features2;
typedef struct {
  Chain head;
  uint32_t flags, queue_count; const void *queues;
  uint32_t layer_count; const char *const *layers;
  uint32_t extension_count; const char *const *extensions;
  const Features *features;
} DeviceCreateInfo;

typedef void (*Function)(void);
static Function (*lookup)(void *instance, const char *name);
static void (*real_features)(void *device, Features *);
static void (*real_features2)(void *device, Features2 *);
static int (*real_create)(void *device, const DeviceCreateInfo *, const void *allocator, void **out);

static void *driver(void) {
  static void *library;
  if (!library && (library = dlopen("libvulkan_lvp.so", RTLD_NOW | RTLD_LOCAL)))
    *(void **)&lookup = dlsym(library, "vk_icdGetInstanceProcAddr");
  return lookup ? library : NULL;
}

static void set_array_features(Features *features, uint32_t value) {
  for (int i = FIRST_ARRAY_FEATURE; i <= LAST_ARRAY_FEATURE; i++) (*features)[i] = value;
}

static void get_features(void *device, Features *out) { real_features(device, out); set_array_features(out, 1); }
static void get_features2(void *device, Features2 *out) { real_features2(device, out); set_array_features(&out->features, 1); }

static int create_device(void *device, const DeviceCreateInfo *info, const void *allocator, void **out) {
  DeviceCreateInfo own = *info;
  Features enabled;
  if (info->features) {
    memcpy(&enabled, info->features, sizeof enabled);
    set_array_features(&enabled, 0);
    own.features = (const Features *)&enabled;
  }
  for (Chain *link = own.head.next; link; link = link->next)
    if (link->type == FEATURES_2) set_array_features(&((Features2 *)link)->features, 0);
  return real_create(device, &own, allocator, out);
}

typedef struct { Chain head; uint64_t bytes; uint32_t type; } AllocateInfo; // VkMemoryAllocateInfo
static Function (*real_device_lookup)(void *device, const char *name);
static int (*real_allocate)(void *device, const AllocateInfo *, const void *allocator, uint64_t *out);
static void (*real_free)(void *device, uint64_t memory, const void *allocator);

// Allocations that are there; Vulkan promises at least 4096.
static struct { uint64_t memory, bytes; } allocations[1 << 14];
static uint64_t allocated;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void note(uint64_t place, uint64_t memory, uint64_t bytes) { // under the lock
  for (size_t i = 0; i < sizeof allocations / sizeof *allocations; i++) {
    if (allocations[i].memory != place) continue;
    allocated += bytes - allocations[i].bytes;
    allocations[i].memory = memory;
    allocations[i].bytes = bytes;
    return;
  }
}

static int allocate(void *device, const AllocateInfo *info, const void *allocator, uint64_t *out) {
  const char *limit = getenv("LAVAPIPE_MEMORY");
  pthread_mutex_lock(&lock);
  int full = limit && *limit && allocated + info->bytes > strtoull(limit, NULL, 10);
  int result = full ? OUT_OF_DEVICE_MEMORY : real_allocate(device, info, allocator, out);
  if (!result) note(0, *out, info->bytes);
  pthread_mutex_unlock(&lock);
  return result;
}

static void free_memory(void *device, uint64_t memory, const void *allocator) {
  pthread_mutex_lock(&lock);
  if (memory) note(memory, 0, 0);
  real_free(device, memory, allocator);
  pthread_mutex_unlock(&lock);
}

static Function device_lookup(void *device, const char *name) {
  Function found = real_device_lookup(device, name);
  if (!strcmp(name, "vkAllocateMemory")) { *(Function *)&real_allocate = found; return (Function)allocate; }
  if (!strcmp(name, "vkFreeMemory")) { *(Function *)&real_free = found; return (Function)free_memory; }
  return found;
}

static const struct { const char *name; Function ours; void *real; } replaced[] = {
  {"vkGetPhysicalDeviceFeatures", (Function)get_features, &real_features},
  {"vkGetPhysicalDeviceFeatures2", (Function)get_features2, &real_features2},
  {"vkGetPhysicalDeviceFeatures2KHR", (Function)get_features2, &real_features2},
  {"vkCreateDevice", (Function)create_device, &real_create},
  {"vkGetDeviceProcAddr", (Function)device_lookup, &real_device_lookup},
};

EXPORT Function vk_icdGetInstanceProcAddr(void *instance, const char *name) {
  Function found = driver() ? lookup(instance, name) : NULL;
  for (size_t i = 0; found && i < sizeof replaced / sizeof *replaced; i++)
    if (!strcmp(name, replaced[i].name)) { *(Function *)replaced[i].real = found; return replaced[i].ours; }
  return found;
}

EXPORT Function vk_icdGetPhysicalDeviceProcAddr(void *instance, const char *name) {
  return vk_icdGetInstanceProcAddr(instance, name);
}

EXPORT int vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *version) {
  int (*real)(uint32_t *) = NULL;
  if (driver()) *(void **)&real = dlsym(driver(), "vk_icdNegotiateLoaderICDInterfaceVersion");
  return real ? real(version) : INITIALIZATION_FAILED;
}
