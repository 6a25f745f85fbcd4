// Bochs: boots our own ROM. It has no shared memory, but it is our child, so the kernel lets us
// read and write its memory; the guest pages in it are found by the marks that the harness puts
// at the start of each. No device is involved, which is what makes this fast.
#include "target_impl.hpp"

#include <cerrno>
#include <cinttypes>
#include <cstring>
#include <fmt/format.h>
#include <fstream>
#include <stdexcept>
#include <sys/uio.h>
#include <thread>
#include <vector>

namespace horos::fuzz {

namespace {

constexpr size_t CHUNK = 1 << 20;

struct Region {
    uint64_t begin, end;
};

std::vector<Region> writableRegions(pid_t pid) {
    std::vector<Region> found;
    std::ifstream maps(fmt::format("/proc/{}/maps", pid));
    std::string line;
    while (std::getline(maps, line)) {
        Region region{};
        char access[5] = {};
        if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %4s", &region.begin, &region.end,
                        access) == 3 &&
            access[0] == 'r' && access[1] == 'w' && region.end - region.begin >= CHUNK)
            found.push_back(region);
    }
    return found;
}

bool isOurs(uint64_t pa) {
    return (pa >= wire::RING_PA && pa < wire::RING_END) || pa == wire::BASE_STATE_PA ||
           (pa >= wire::ARENA_PA && pa < wire::ARENA_PA + wire::ARENA_SIZE);
}

constexpr size_t PAGES_NEEDED = 2 + wire::SLOTS + wire::ARENA_PAGES;

} // namespace

bool ForeignMemory::find(pid_t pid) {
    forget();
    pid_ = pid;
    std::vector<uint64_t> buffer(CHUNK / 8);
    for (const Region& region : writableRegions(pid)) {
        for (uint64_t at = region.begin; at < region.end; at += CHUNK) {
            size_t size = std::min<uint64_t>(CHUNK, region.end - at);
            iovec local{buffer.data(), size};
            iovec remote{reinterpret_cast<void*>(at), size};
            ssize_t got = process_vm_readv(pid, &local, 1, &remote, 1, 0);
            for (ssize_t offset = 0; offset + 4096 <= got; offset += 4096) {
                const uint64_t* page = &buffer[size_t(offset) / 8];
                if (page[0] != wire::MAGIC)
                    continue;
                if (isOurs(page[1]))
                    pages_[page[1]] = at + uint64_t(offset);
                else if (page[1] == (uint64_t{wire::SLOTS} << 32 | wire::VERSION))
                    pages_[wire::MAILBOX_PA] = at + uint64_t(offset);
            }
        }
    }
    return pages_.size() == PAGES_NEEDED;
}

void ForeignMemory::forget() {
    pages_.clear();
    pid_ = -1;
}

// The host address of pa, and how many bytes from there on are contiguous on both sides.
uint64_t ForeignMemory::host(uint64_t pa, size_t& run) const {
    auto page = pages_.find(pa & ~0xfffull);
    if (page == pages_.end())
        throw std::runtime_error(fmt::format("bochs: guest page {:#x} is not mapped", pa));
    uint64_t start = page->second + (pa & 0xfff);
    size_t length = 4096 - (pa & 0xfff);
    while (length < run) {
        auto next = pages_.find((pa + length) & ~0xfffull);
        if (next == pages_.end() || next->second != start + length)
            break;
        length += 4096;
    }
    run = std::min(run, length);
    return start;
}

void ForeignMemory::copy(uint64_t pa, void* data, size_t size, bool writing) {
    auto* bytes = static_cast<uint8_t*>(data);
    while (size > 0) {
        size_t run = size;
        iovec remote{reinterpret_cast<void*>(host(pa, run)), run};
        remote.iov_len = run;
        iovec local{bytes, run};
        ssize_t done = writing ? process_vm_writev(pid_, &local, 1, &remote, 1, 0)
                               : process_vm_readv(pid_, &local, 1, &remote, 1, 0);
        if (done != ssize_t(run)) {
            if (!writing)
                std::memset(bytes, 0, run); // the process is gone; the ring finds out
            if (errno != ESRCH && done < 0 && errno != EFAULT)
                throw std::runtime_error(fmt::format("bochs memory: {}", std::strerror(errno)));
        }
        bytes += run;
        pa += run;
        size -= run;
    }
}

void ForeignMemory::read(uint64_t pa, void* to, size_t size) { copy(pa, to, size, false); }
void ForeignMemory::write(uint64_t pa, const void* from, size_t size) {
    copy(pa, const_cast<void*>(from), size, true);
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
    writeFile(scratch.path() + "/rc", bochsConfiguration(rom, scratch.path() + "/bochs.log"));
    writeFile(scratch.path() + "/debugger", "c\n");
    process.spawn(
        {"bochs", "-q", "-f", scratch.path() + "/rc", "-rc", scratch.path() + "/debugger"},
        scratch.path() + "/log");
}

bool BochsInstance::ready() {
    return readFile(scratch.path() + "/log").find(wire::READY) != std::string::npos &&
           memory.find(process.pid());
}

std::string BochsInstance::log() const {
    std::string text = readFile(scratch.path() + "/log");
    try {
        text += readFile(scratch.path() + "/bochs.log");
    } catch (const std::runtime_error&) {
        // it did not get as far as to open its log
    }
    return text;
}

void BochsTarget::start() {
    stop();
    current_ = std::make_unique<BochsInstance>(rom_);
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
    resetRing();
}

void BochsTarget::stop() {
    if (current_) {
        current_->process.kill();
        current_->memory.forget();
    }
}

void BochsTarget::ringOut(unsigned first, unsigned count) {
    current_->memory.write(wire::ringAddress(first), &copy_[first * wire::SLOT_SIZE],
                           count * wire::SLOT_SIZE);
}

void BochsTarget::ringIn(unsigned first, unsigned count) {
    current_->memory.read(wire::ringAddress(first), &copy_[first * wire::SLOT_SIZE],
                          count * wire::SLOT_SIZE);
}

std::unique_ptr<Target> makeTarget(const TargetOptions& options) {
    if (options.kind == TargetKind::QemuSvm)
        return std::make_unique<QemuTarget>(options.harnessRom);
    return std::make_unique<BochsTarget>(options.harnessRom);
}

} // namespace horos::fuzz
