#include "bochs.hpp"
#include "cases.hpp"

#include <algorithm>
#include <cinttypes>
#include <cstddef>
#include <cstring>
#include <fmt/core.h>
#include <fstream>
#include <sys/uio.h>
#include <thread>

namespace horos::fuzz::vmx {

namespace {

constexpr auto START_LIMIT = std::chrono::seconds(60);
// A batch takes milliseconds. Time on the wall would blame a healthy target on a busy machine.
constexpr auto PROCESSOR_LIMIT = std::chrono::seconds(2);
constexpr auto WALL_LIMIT = std::chrono::seconds(60);

} // namespace

std::string bochs_configuration(const std::string& rom, const std::string& cpu,
                                const std::string& log) {
    return fmt::format("romimage: file={}\n"
                       "vgaromimage: file=/usr/share/vgabios/vgabios.bin\n"
                       "cpu: model={}, count=1, ips=100000000, reset_on_triple_fault=0, "
                       "ignore_bad_msrs=1\n"
                       "memory: guest=32, host=32\n"
                       "clock: sync=none, time0=local\n"
                       "display_library: rfb, options=\"timeout=0\"\n"
                       "plugin_ctrl: speaker=0, gameport=0, parallel=0, biosdev=0\n"
                       "log: {}\n"
                       "panic: action=fatal\nerror: action=ignore\ninfo: action=ignore\n"
                       "debug: action=ignore\n",
                       rom, cpu, log);
}

Mailbox mailbox_of(const FieldLists& lists) {
    Mailbox box{};
    box.write_count = uint32_t(lists.write.size());
    box.read_count = uint32_t(lists.read.size());
    std::copy(lists.write.begin(), lists.write.end(), box.write_list);
    std::copy(lists.read.begin(), lists.read.end(), box.read_list);
    std::copy(lists.write_slots.begin(), lists.write_slots.end(), box.write_slot);
    std::copy(lists.read_slots.begin(), lists.read_slots.end(), box.read_slot);
    return box;
}

std::string Bochs::log() const {
    const std::string& folder = instance_->scratch.path();
    const std::string text =
        readFileIfThere(folder + "/log") + readFileIfThere(folder + "/bochs.log");
    return text.size() > 2000 ? text.substr(text.size() - 2000) : text;
}

bool Bochs::find_block() {
    std::ifstream maps(fmt::format("/proc/{}/maps", instance_->process.pid()));
    std::string line;
    std::vector<uint64_t> chunk(1 << 17);
    while (std::getline(maps, line)) {
        uint64_t begin = 0;
        uint64_t end = 0;
        char access[5] = {};
        if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %4s", &begin, &end, access) != 3 ||
            access[1] != 'w' || end - begin < (1 << 20)) {
            continue;
        }
        for (uint64_t at = begin; at < end; at += chunk.size() * 8) {
            const size_t size = std::min<uint64_t>(chunk.size() * 8, end - at);
            iovec local{chunk.data(), size};
            iovec remote{reinterpret_cast<void*>(at), size};
            const ssize_t got =
                process_vm_readv(instance_->process.pid(), &local, 1, &remote, 1, 0);
            // Bochs aligns its memory to pages of its own, not to the host's.
            for (ssize_t q = 0; q + 1 < got / 8; ++q) {
                if (chunk[size_t(q)] == MAGIC && chunk[size_t(q) + 1] == SHARED_PA) {
                    instance_->block = at + uint64_t(q) * 8;
                    return true;
                }
            }
        }
    }
    return false;
}

void Bochs::read(uint64_t offset, void* to, size_t size) {
    iovec local{to, size};
    iovec remote{reinterpret_cast<void*>(instance_->block + offset), size};
    if (process_vm_readv(instance_->process.pid(), &local, 1, &remote, 1, 0) != ssize_t(size)) {
        std::memset(to, 0xff, size); // gone; the caller sees that it is
    }
}
void Bochs::write(uint64_t offset, const void* from, size_t size) {
    iovec local{const_cast<void*>(from), size};
    iovec remote{reinterpret_cast<void*>(instance_->block + offset), size};
    (void)process_vm_writev(instance_->process.pid(), &local, 1, &remote, 1, 0);
}

void Bochs::start() {
    stop();
    instance_ = std::make_unique<Instance>();
    const std::string& folder = instance_->scratch.path();
    writeFile(folder + "/rc", bochs_configuration(HOROS_VMX_ROM, cpu_, folder + "/bochs.log"));
    writeFile(folder + "/debugger", "c\n");
    instance_->process.spawn({"bochs", "-q", "-f", folder + "/rc", "-rc", folder + "/debugger"},
                             folder + "/log");
    const auto limit = std::chrono::steady_clock::now() + START_LIMIT;
    for (;;) {
        uint32_t ready = 0;
        if (find_block()) {
            read(offsetof(Mailbox, ready), &ready, sizeof ready);
        }
        if (ready == 1) {
            break;
        }
        if (!instance_->process.alive() || ready == 2 || std::chrono::steady_clock::now() > limit) {
            throw std::runtime_error(fmt::format("bochs ({}): the harness did not start{}:\n{}",
                                                 cpu_, ready == 2 ? ", VMXON failed" : "", log()));
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    read(offsetof(Mailbox, host), &host_, sizeof host_);
    ++starts_;
    send_fields();
}

void Bochs::send_fields() {
    const size_t from = offsetof(Mailbox, write_count);
    write(from, reinterpret_cast<const uint8_t*>(&fields_) + from, sizeof(Mailbox) - from);
    const uint32_t go = FIELDS_CHANGED;
    write(offsetof(Mailbox, lane) + offsetof(Lane, command), &go, sizeof go);
    wait(0);
}

void Bochs::set_fields(const std::vector<uint16_t>& write_list,
                       const std::vector<uint8_t>& write_slots,
                       const std::vector<uint16_t>& read_list,
                       const std::vector<uint8_t>& read_slots) {
    fields_ = mailbox_of({write_list, read_list, write_slots, read_slots});
    if (instance_) {
        send_fields();
    }
}

void Bochs::lost(bool late) {
    const std::string why = late ? "hangs" : instance_->process.ending();
    const std::string text = log();
    const size_t panic = text.rfind("PANIC");
    const std::string line =
        panic == std::string::npos ? "" : text.substr(panic, text.find('\n', panic) - panic);
    stop();
    throw TargetLost(why + (line.empty() ? "" : ": " + line));
}

void Bochs::wait(unsigned lane) {
    const auto limit = std::chrono::steady_clock::now() + WALL_LIMIT;
    const auto used = processorTime(instance_->process.pid());
    const size_t place = offsetof(Mailbox, lane) + lane * sizeof(Lane) + offsetof(Lane, command);
    for (unsigned turn = 0;; ++turn) {
        uint32_t command = IDLE;
        read(place, &command, sizeof command);
        if (command == IDLE) {
            return;
        }
        const bool late =
            std::chrono::steady_clock::now() > limit ||
            (turn % 64 == 0 && processorTime(instance_->process.pid()) > used + PROCESSOR_LIMIT);
        if (late || (turn % 64 == 0 && !instance_->process.alive())) {
            lost(late);
        }
        std::this_thread::sleep_for(std::chrono::microseconds(turn < 200 ? 20 : 500));
    }
}

void Bochs::post(unsigned lane, const std::vector<Case>& cases) {
    for (size_t n = 0; n < cases.size(); ++n) {
        buffer_[n].test = cases[n];
    }
    write(4096 + lane * LANE_SLOTS * sizeof(Slot), buffer_.data(), cases.size() * sizeof(Slot));
    const Lane start{RUN, uint32_t(cases.size()), 0, 0};
    write(offsetof(Mailbox, lane) + lane * sizeof(Lane) + offsetof(Lane, count),
          reinterpret_cast<const uint8_t*>(&start) + offsetof(Lane, count), 8);
    const uint32_t go = RUN; // last: the harness begins when it sees this
    write(offsetof(Mailbox, lane) + lane * sizeof(Lane), &go, sizeof go);
    posted_[lane] = cases.size();
}

std::vector<Result> Bochs::take(unsigned lane) {
    wait(lane);
    read(4096 + lane * LANE_SLOTS * sizeof(Slot), buffer_.data(), posted_[lane] * sizeof(Slot));
    std::vector<Result> results;
    results.reserve(posted_[lane]);
    for (size_t n = 0; n < posted_[lane]; ++n) {
        results.push_back(buffer_[n].result);
    }
    posted_[lane] = 0;
    return results;
}

std::vector<Result> Bochs::run(const std::vector<Case>& cases, unsigned lane) {
    std::vector<Result> all;
    for (size_t from = 0; from < cases.size(); from += LANE_SLOTS) {
        const size_t end = std::min<size_t>(cases.size(), from + LANE_SLOTS);
        post(lane, {cases.begin() + std::ptrdiff_t(from), cases.begin() + std::ptrdiff_t(end)});
        const std::vector<Result> some = take(lane);
        all.insert(all.end(), some.begin(), some.end());
    }
    return all;
}

} // namespace horos::fuzz::vmx
