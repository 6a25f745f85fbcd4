#include "target_impl.hpp"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <stdexcept>
#include <sys/mman.h>
#include <unistd.h>

namespace horos::fuzz {

MemoryFile::MemoryFile(size_t size) : size_(size) {
    fd_ = memfd_create("horos-fuzz-ram", 0);
    if (fd_ < 0 || ftruncate(fd_, off_t(size)) != 0)
        throw std::runtime_error(fmt::format("guest memory file: {}", std::strerror(errno)));
    void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd_, 0);
    if (at == MAP_FAILED)
        throw std::runtime_error(fmt::format("mapping guest memory: {}", std::strerror(errno)));
    base_ = static_cast<uint8_t*>(at);
}

MemoryFile::~MemoryFile() {
    munmap(base_, size_);
    close(fd_);
}

std::string MemoryFile::path() const { return fmt::format("/proc/{}/fd/{}", getpid(), fd_); }

void readShared(const uint8_t* from, void* to, size_t size) {
    if (size == 8) {
        uint64_t value = __atomic_load_n(reinterpret_cast<const uint64_t*>(from), __ATOMIC_ACQUIRE);
        std::memcpy(to, &value, 8);
        return;
    }
    std::memcpy(to, from, size);
}

void writeShared(uint8_t* to, const void* from, size_t size) {
    if (size == 8) {
        uint64_t value;
        std::memcpy(&value, from, 8);
        __atomic_store_n(reinterpret_cast<uint64_t*>(to), value, __ATOMIC_RELEASE);
        return;
    }
    std::memcpy(to, from, size);
}

} // namespace horos::fuzz
