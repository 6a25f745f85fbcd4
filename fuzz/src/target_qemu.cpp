// QEMU's TCG: the target's RAM is a memory file that we map, so nothing crosses through devices.
#include "target_impl.hpp"

#include <fmt/format.h>
#include <stdexcept>
#include <thread>

namespace horos::fuzz {

// From our own ROM rather than with -kernel: SeaBIOS would take twice as long as all the rest.
QemuInstance::QemuInstance(const std::string& rom, const std::string& cpu) {
    std::string ram = fmt::format("memory-backend-file,id=ram,size={},mem-path={},share=on",
                                  wire::MEMORY_SIZE, memory.file.path());
    process.spawn({"qemu-system-x86_64",
                   "-nodefaults",
                   "-no-user-config",
                   "-display",
                   "none",
                   "-accel",
                   "tcg,thread=single,tb-size=64",
                   "-cpu",
                   cpu,
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
        next = std::make_unique<QemuInstance>(rom_, cpu_);
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
        spare_ = std::make_unique<QemuInstance>(rom_, cpu_);
    for (unsigned i = 0; i < wire::SLOTS; ++i)
        addPlace(i, current_->memory.file.base() + wire::ringAddress(i));
    resetRing();
}

void QemuTarget::stop() {
    spare_.reset();
    if (current_)
        current_->process.kill(); // its log stays readable
}

} // namespace horos::fuzz
