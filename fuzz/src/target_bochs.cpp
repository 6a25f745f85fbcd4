// Bochs: boots our own ROM. It has no shared memory of its own; a library loaded into it lets its
// RAM come from a memory file (fuzz/preload), in which the guest pages are found by the marks that
// the harness puts at the start of each. No device is involved, which is what makes this fast.
#include "target_impl.hpp"

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <stdexcept>
#include <thread>
#include <unistd.h>

namespace horos::fuzz {

namespace {

bool isOurs(uint64_t pa) {
    return (pa >= wire::RING_PA && pa < wire::RING_END) || pa == wire::BASE_STATE_PA ||
           (pa >= wire::ARENA_PA && pa < wire::ARENA_PA + wire::ARENA_SIZE);
}

constexpr size_t PAGES_NEEDED = 2 + wire::SLOTS + wire::ARENA_PAGES;

} // namespace

// Holes of the file are left out, so that looking does not fill them.
bool MarkedMemory::find() {
    pages_.clear();
    const off_t end = off_t(file.size());
    for (off_t at = lseek(file.fd(), 0, SEEK_DATA); at >= 0 && at < end;
         at = lseek(file.fd(), at, SEEK_DATA)) {
        off_t hole = lseek(file.fd(), at, SEEK_HOLE);
        if (hole < 0)
            hole = end;
        for (; at < hole; at += 4096) {
            uint64_t mark[2];
            std::memcpy(mark, file.base() + at, sizeof mark);
            if (mark[0] != wire::MAGIC)
                continue;
            if (isOurs(mark[1]))
                pages_[mark[1]] = file.base() + at;
            else if (mark[1] == (uint64_t{wire::SLOTS} << 32 | wire::VERSION))
                pages_[wire::MAILBOX_PA] = file.base() + at;
        }
    }
    return pages_.size() == PAGES_NEEDED;
}

uint8_t* MarkedMemory::at(uint64_t pa, size_t& run) {
    auto page = pages_.find(pa & ~0xfffull);
    if (page == pages_.end())
        throw std::runtime_error(fmt::format("bochs: guest page {:#x} is not mapped", pa));
    run = std::min<size_t>(run, 4096 - (pa & 0xfff));
    return page->second + (pa & 0xfff);
}

void MarkedMemory::read(uint64_t pa, void* to, size_t size) {
    for (auto* bytes = static_cast<uint8_t*>(to); size > 0;) {
        size_t run = size;
        const uint8_t* from = at(pa, run);
        readShared(from, bytes, run);
        bytes += run;
        pa += run;
        size -= run;
    }
}

void MarkedMemory::write(uint64_t pa, const void* from, size_t size) {
    for (auto* bytes = static_cast<const uint8_t*>(from); size > 0;) {
        size_t run = size;
        uint8_t* to = at(pa, run);
        writeShared(to, bytes, run);
        bytes += run;
        pa += run;
        size -= run;
    }
}

std::string bochsConfiguration(const std::string& rom, const std::string& log) {
    return fmt::format("romimage: file={}\n"
                       "vgaromimage: file=/usr/share/vgabios/vgabios.bin\n"
                       "cpu: model=ryzen, count=1, ips=50000000, reset_on_triple_fault=0, "
                       "ignore_bad_msrs=1\n"
                       "memory: guest=1040, host=32\n"
                       "clock: sync=none, time0=local\n"
                       "display_library: rfb, options=\"timeout=0\"\n"
                       "port_e9_hack: enabled=1\n"
                       // the speaker's mixer thread overruns a buffer where there is no sound card
                       "plugin_ctrl: speaker=0, gameport=0, parallel=0, biosdev=0\n"
                       "log: {}\n"
                       "panic: action=fatal\nerror: action=ignore\ninfo: action=ignore\n"
                       "debug: action=ignore\n",
                       rom, log);
}

BochsInstance::BochsInstance(const std::string& rom) {
    const auto library = std::filesystem::path(rom).parent_path() / "horos-fuzz-ram.so";
    if (!std::filesystem::exists(library))
        throw std::runtime_error("there is no " + library.string() + ": it belongs to the images");
    writeFile(scratch.path() + "/rc", bochsConfiguration(rom, scratch.path() + "/bochs.log"));
    writeFile(scratch.path() + "/debugger", "c\n");
    process.spawn({"env", "LD_PRELOAD=" + std::filesystem::absolute(library).string(),
                   "HOROS_FUZZ_RAM=" + memory.file.path(), "bochs", "-q", "-f",
                   scratch.path() + "/rc", "-rc", scratch.path() + "/debugger"},
                  scratch.path() + "/log");
}

bool BochsInstance::ready() {
    if (!found_)
        found_ = readFile(scratch.path() + "/log").find(wire::READY) != std::string::npos &&
                 memory.find();
    return found_;
}

void BochsInstance::park() {
    if (!parked_ && process.alive() && ready())
        parked_ = kill(process.pid(), SIGSTOP) == 0;
}

void BochsInstance::wake() {
    if (parked_)
        kill(process.pid(), SIGCONT);
    parked_ = false;
}

std::string BochsInstance::log() const {
    // The second is not there when Bochs did not get as far as to open its log.
    return readFile(scratch.path() + "/log") + readFileIfThere(scratch.path() + "/bochs.log");
}

void BochsTarget::start() {
    std::unique_ptr<BochsInstance> next = std::move(spare_);
    stop();
    if (!next || !next->process.alive())
        next = std::make_unique<BochsInstance>(rom_);
    current_ = std::move(next);
    current_->wake();
    auto limit = std::chrono::steady_clock::now() + START_LIMIT;
    while (!current_->ready()) {
        if (!current_->process.alive())
            throw std::runtime_error(fmt::format("bochs {} before the harness was ready:\n{}",
                                                 current_->process.ending(), log()));
        if (std::chrono::steady_clock::now() > limit)
            throw std::runtime_error("bochs: the harness did not become ready in time:\n" + log());
        checkInterrupt();
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    if (++starts_ > 1 && keepSpare_)
        spare_ = std::make_unique<BochsInstance>(rom_);
    for (unsigned i = 0; i < wire::SLOTS; ++i) {
        size_t run = wire::SLOT_SIZE;
        addPlace(i, current_->memory.at(wire::ringAddress(i), run));
    }
    resetRing();
}

bool BochsTarget::alive() {
    if (spare_)
        spare_->park();
    return current_ && current_->process.alive();
}

void BochsTarget::stop() {
    spare_.reset();
    if (current_)
        current_->process.kill(); // its log and its memory stay readable
}

std::unique_ptr<Target> makeTarget(const TargetOptions& options) {
    if (options.kind == TargetKind::QemuSvm)
        return std::make_unique<QemuTarget>(options.harnessRom, options.cpu);
    return std::make_unique<BochsTarget>(options.harnessRom);
}

} // namespace horos::fuzz
