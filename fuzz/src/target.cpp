#include "horos/fuzz/target.hpp"

#include "horos/fuzz/arena.hpp"
#include "process.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <fmt/format.h>
#include <stdexcept>
#include <thread>
#include <utility>

namespace horos::fuzz {

namespace {
constexpr uint64_t boxField(size_t offset) { return wire::MAILBOX_PA + offset; }
constexpr uint64_t PRODUCED = boxField(offsetof(wire::Mailbox, produced));
constexpr uint64_t CONSUMED = boxField(offsetof(wire::Mailbox, consumed));

const wire::Window* places() {
    static const auto table = [] {
        std::array<wire::Window, wire::WINDOWS> all{};
        for (unsigned i = 0; i < WINDOW_COUNT; ++i)
            all[i] = windows()[i].place;
        return all;
    }();
    return table.data();
}
// What the windows hold between cases.
const uint64_t* windowContents() {
    static const auto contents = [] {
        std::array<uint64_t, wire::WINDOW_QWORDS> all{};
        for (const WindowInfo& w : windows())
            std::memcpy(&all[w.place.offset],
                        &arenaTemplate()[(w.place.address - wire::ARENA_PA) / 8],
                        8 * w.place.qwords);
        return all;
    }();
    return contents.data();
}

std::string firstLine(const std::string& command) {
    std::array<char, 512> line{};
    FILE* pipe = popen(command.c_str(), "r");
    if (!pipe)
        return {};
    std::string text;
    while (fgets(line.data(), line.size(), pipe))
        text += line.data();
    pclose(pipe);
    return text;
}
} // namespace

std::string_view name(TargetKind kind) {
    return kind == TargetKind::QemuSvm ? "qemu-svm" : "bochs-svm";
}

TargetKind parseTarget(std::string_view text) {
    for (TargetKind kind : {TargetKind::QemuSvm, TargetKind::BochsSvm})
        if (text == name(kind))
            return kind;
    throw std::invalid_argument(
        fmt::format("unknown target '{}': use qemu-svm or bochs-svm", text));
}

std::string versionOf(TargetKind kind) {
    if (kind == TargetKind::QemuSvm) {
        std::string text = firstLine("qemu-system-x86_64 --version 2>&1");
        auto at = text.find("version ");
        if (at == std::string::npos)
            throw std::runtime_error("qemu-system-x86_64 is not installed or did not say its "
                                     "version");
        text = text.substr(at + 8);
        return "qemu-" + text.substr(0, text.find_first_of(" \n("));
    }
    std::string text = firstLine("bochs --help cpu 2>&1 < /dev/null");
    auto at = text.find("Emulator ");
    if (at == std::string::npos)
        throw std::runtime_error("bochs is not installed or did not say its version");
    text = text.substr(at + 9);
    return "bochs-" + text.substr(0, text.find_first_of(" \n"));
}

void Target::resetRing() {
    submitted_ = commands_ = looked_ = 0;
    memory().read(boxField(offsetof(wire::Mailbox, baseline)), baseline_, sizeof baseline_);
    for (wire::RingSlot* place : places_)
        std::memset(static_cast<void*>(place), 0, wire::SLOT_SIZE);
}

void Target::submit(const wire::CaseSlot& slot) {
    wire::pack(slot, wire::ringAddress(submitted_), places(), windowContents(), place(submitted_));
    ++submitted_;
}

void Target::publish() { memory().write(PRODUCED, &submitted_, sizeof submitted_); }

uint64_t Target::finished() {
    uint64_t count = 0;
    memory().read(CONSUMED, &count, sizeof count);
    return count;
}

void Target::fetch(uint64_t index, wire::ResultSlot& result) {
    wire::unpack(place(index), wire::ringAddress(index), places(), baseline_, result);
}

void Target::placeForBareLoop(const wire::CaseSlot& slot) {
    wire::pack(slot, wire::ringAddress(0), places(), windowContents(), place(0));
}

std::vector<uint64_t> Target::strayRingWords() {
    std::vector<uint64_t> found;
    auto look = [&](uint64_t address, std::span<uint64_t> words) {
        for (size_t i = 0; i < words.size(); ++i)
            if (std::exchange(words[i], 0) != 0)
                found.push_back(address + 8 * i);
    };
    looked_ = std::max(looked_, submitted_ < wire::SLOTS ? 0 : submitted_ - wire::SLOTS);
    for (; looked_ < submitted_; ++looked_) {
        wire::RingSlot& r = place(looked_);
        const uint64_t address = wire::ringAddress(looked_);
        look(address + offsetof(wire::RingSlot, controlRest), r.controlRest);
        look(address + offsetof(wire::RingSlot, saveRest), r.saveRest);
    }
    return found;
}

namespace {

// Sees whether a process is stuck: it used more processor time than allowed without finishing a
// case, or all of it has slept for long while a case is outstanding.
class StuckWatch {
public:
    StuckWatch(pid_t pid, std::chrono::milliseconds limit) : pid_(pid), limit_(limit) {}
    void progress() { fresh_ = true; }
    // To be asked about every ten milliseconds.
    bool stuck() {
        const auto used = processorTime(pid_);
        if (std::exchange(fresh_, false)) {
            begun_ = used;
            asleep_ = 0;
        }
        if (used - begun_ > limit_)
            return true;
        asleep_ = anyThreadRuns(pid_) ? 0 : asleep_ + 1;
        return asleep_ >= SLEEPS;
    }

private:
    static constexpr unsigned SLEEPS = 50;
    pid_t pid_;
    std::chrono::nanoseconds limit_, begun_{};
    bool fresh_ = true;
    unsigned asleep_ = 0;
};

} // namespace

TargetState Target::waitFor(uint64_t index) {
    uint64_t last = finished();
    StuckWatch watch(pid(), hangLimit_);
    for (unsigned spins = 0, sleeps = 0; last < index; ++spins) {
        uint64_t now = finished();
        if (now != last) {
            last = now;
            watch.progress();
            spins = sleeps = 0;
            continue;
        }
        if (spins < 50)
            continue;
        // Not before about half of what is missing can be done: each look costs the target time
        // where it has only the processor that we run on.
        const uint64_t soon = std::min<uint64_t>(500, 20 + 6 * (index - now));
        std::this_thread::sleep_for(std::chrono::microseconds(spins > 500 ? 500 : soon));
        if (spins % 16 == 0 && !alive())
            return TargetState::Died;
        if (spins <= 500 || ++sleeps % 20 != 0)
            continue;
        if (interrupted && interrupted())
            return TargetState::Interrupted;
        if (watch.stuck())
            return alive() ? TargetState::Hung : TargetState::Died;
    }
    return TargetState::Running;
}

TargetState Target::command(wire::Command command, uint64_t argument,
                            std::chrono::milliseconds limit) {
    using clock = std::chrono::steady_clock;
    constexpr uint64_t COMMAND = boxField(offsetof(wire::Mailbox, command));
    constexpr uint64_t ARGUMENT = boxField(offsetof(wire::Mailbox, argument));
    constexpr uint64_t SEQ = boxField(offsetof(wire::Mailbox, commandSeq));
    constexpr uint64_t DONE = boxField(offsetof(wire::Mailbox, commandDone));
    memory().write(COMMAND, &command, sizeof command);
    memory().write(ARGUMENT, &argument, sizeof argument);
    ++commands_;
    memory().write(SEQ, &commands_, sizeof commands_);
    auto begun = clock::now();
    for (;;) {
        uint64_t done = 0;
        memory().read(DONE, &done, sizeof done);
        if (done == commands_)
            return TargetState::Running;
        if (!alive())
            return TargetState::Died;
        if (interrupted && interrupted())
            return TargetState::Interrupted;
        if (clock::now() - begun > limit)
            return TargetState::Hung;
        std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
}

} // namespace horos::fuzz
