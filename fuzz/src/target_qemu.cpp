// QEMU's TCG: the target's RAM is a memory file that we map, so nothing crosses through devices.
#include "target_impl.hpp"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <stdexcept>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>

namespace horos::fuzz {

MappedMemory::MappedMemory(size_t size) : size_(size) {
    fd_ = memfd_create("horos-fuzz-ram", 0);
    if (fd_ < 0 || ftruncate(fd_, off_t(size)) != 0)
        throw std::runtime_error(fmt::format("guest memory file: {}", std::strerror(errno)));
    void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd_, 0);
    if (at == MAP_FAILED)
        throw std::runtime_error(fmt::format("mapping guest memory: {}", std::strerror(errno)));
    base_ = static_cast<uint8_t*>(at);
}

MappedMemory::~MappedMemory() {
    munmap(base_, size_);
    close(fd_);
}

void MappedMemory::read(uint64_t pa, void* to, size_t size) {
    if (size == 8) {
        uint64_t value = __atomic_load_n(reinterpret_cast<uint64_t*>(base_ + pa), __ATOMIC_ACQUIRE);
        std::memcpy(to, &value, 8);
        return;
    }
    std::memcpy(to, base_ + pa, size);
}

void MappedMemory::write(uint64_t pa, const void* from, size_t size) {
    if (size == 8) {
        uint64_t value;
        std::memcpy(&value, from, 8);
        __atomic_store_n(reinterpret_cast<uint64_t*>(base_ + pa), value, __ATOMIC_RELEASE);
        return;
    }
    std::memcpy(base_ + pa, from, size);
}

// From our own ROM rather than with -kernel: SeaBIOS would take twice as long as all the rest.
QemuInstance::QemuInstance(const std::string& rom) {
    std::string ram = fmt::format("memory-backend-file,id=ram,size={},mem-path=/proc/{}/fd/{},"
                                  "share=on",
                                  wire::MEMORY_SIZE, getpid(), memory.fd());
    process.spawn({"qemu-system-x86_64",
                   "-nodefaults",
                   "-no-user-config",
                   "-display",
                   "none",
                   "-accel",
                   "tcg,thread=single,tb-size=64",
                   "-cpu",
                   "max,+svm",
                   "-machine",
                   "pc,memory-backend=ram",
                   "-object",
                   ram,
                   "-m",
                   fmt::format("{}M", wire::MEMORY_SIZE >> 20),
                   "-bios",
                   rom,
                   "-no-reboot",
                   "-device",
                   "isa-debug-exit,iobase=0xf4,iosize=4",
                   "-serial",
                   "none",
                   "-debugcon",
                   "stdio",
                   "-monitor",
                   "none"},
                  scratch.path() + "/log");
}

bool QemuInstance::ready() {
    uint64_t magic = 0;
    memory.read(wire::MAILBOX_PA, &magic, sizeof magic);
    return magic == wire::MAGIC;
}

void QemuTarget::start() {
    std::unique_ptr<QemuInstance> next = std::move(spare_);
    stop();
    if (!next || !next->process.alive())
        next = std::make_unique<QemuInstance>(rom_);
    current_ = std::move(next);
    auto limit = std::chrono::steady_clock::now() + START_LIMIT;
    while (!current_->ready()) {
        if (!current_->process.alive())
            throw std::runtime_error(fmt::format("qemu {} before the harness was ready:\n{}",
                                                 current_->process.ending(), log()));
        if (std::chrono::steady_clock::now() > limit)
            throw std::runtime_error("qemu: the harness did not become ready in time:\n" + log());
        checkInterrupt();
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    if (++starts_ > 1 && keepSpare_)
        spare_ = std::make_unique<QemuInstance>(rom_);
    resetRing();
}

void QemuTarget::stop() {
    spare_.reset();
    if (current_)
        current_->process.kill(); // its log stays readable
}

} // namespace horos::fuzz
