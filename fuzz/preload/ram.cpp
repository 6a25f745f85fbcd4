// Loaded into Bochs before its own libraries: the one allocation that is large enough to be its RAM
// comes from a memory file that the fuzzer maps too. Bochs stays the package's own program; without
// this the fuzzer could reach its memory by system calls only, and not at all when it is dead.
#include <cstddef>
#include <cstdlib>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace {

constexpr size_t AT_LEAST = size_t{32} << 20; // the `host=` of the configuration
void* ram = nullptr;

// Null when there is no such file or it is too small.
void* mapFile(const char* path, size_t size) {
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return nullptr;
    void* at = MAP_FAILED;
    if (lseek(fd, 0, SEEK_END) >= off_t(size))
        at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return at == MAP_FAILED ? nullptr : at;
}

} // namespace

void* operator new[](size_t size) {
    if (size >= AT_LEAST && !ram)
        if (const char* path = getenv("HOROS_FUZZ_RAM"))
            if ((ram = mapFile(path, size)))
                return ram;
    void* at = malloc(size ? size : 1);
    if (!at)
        abort();
    return at;
}

void operator delete[](void* at) noexcept {
    if (at != ram || !at)
        free(at);
}
void operator delete[](void* at, size_t) noexcept { operator delete[](at); }
