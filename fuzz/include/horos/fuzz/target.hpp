// A target: an emulator process that runs the harness, and the ring of case and result slots in its
// memory. Death and hangs of the process are ordinary outcomes here.
#pragma once

#include "horos/fuzz/ring.hpp"

#include <array>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace horos::fuzz {

enum class TargetKind { QemuSvm, BochsSvm };

std::string_view name(TargetKind kind);
TargetKind parseTarget(std::string_view text); // throws std::invalid_argument
// What the triage data is keyed by: the emulator and its version, as it reports it itself.
std::string versionOf(TargetKind kind);

enum class TargetState {
    Running,
    Hung,
    Died,
    Interrupted, // we were asked to end; says nothing about the target
};

// Thrown where a target is being started and the campaign is to end.
class Interrupted : public std::exception {
public:
    const char* what() const noexcept override { return "interrupted"; }
};

// Access to the target's physical memory, however it is had.
class Memory {
public:
    virtual ~Memory() = default;
    virtual void read(uint64_t pa, void* to, size_t size) = 0;
    virtual void write(uint64_t pa, const void* from, size_t size) = 0;
};

class Target {
public:
    virtual ~Target() = default;
    Target(const Target&) = delete;
    Target& operator=(const Target&) = delete;

    virtual TargetKind kind() const = 0;
    // Starts (or restarts) the process and waits until the harness is ready.
    virtual void start() = 0;
    virtual void stop() = 0;
    // Stays readable when the process is dead, so that the ring says how far it came.
    virtual Memory& memory() = 0;
    virtual pid_t pid() const = 0;
    // What the process printed since it was started.
    virtual std::string log() const = 0;
    // Whether it is well; what waitFor() says may be older.
    virtual bool alive() = 0;

    // How much processor time the target may use for one case: time on the wall would make a
    // healthy target on a busy machine look hung.
    void setHangLimit(std::chrono::milliseconds limit) { hangLimit_ = limit; }
    // Keep another process ready, once the first one was lost.
    void keepSpare(bool keep) { keepSpare_ = keep; }
    // Asked while waiting; true ends the wait.
    std::function<bool()> interrupted;

    // The ring. submit() copies the case in; at most SLOTS may be outstanding.
    void submit(const wire::CaseSlot& slot);
    void publish(); // makes the submitted cases visible to the harness
    uint64_t submitted() const { return submitted_; }
    uint64_t finished(); // reads the harness's counter
    void fetch(uint64_t index, wire::ResultSlot& result);
    // Puts a case into place 0 of an idle ring, for Command::BareLoop.
    void placeForBareLoop(const wire::CaseSlot& slot);
    // Words of the ring that no field of a VMCB occupies and that the cases since the last look
    // changed, as addresses; they are zero again then.
    std::vector<uint64_t> strayRingWords();
    const uint64_t (&baseline() const)[wire::H_COUNT] { return baseline_; }
    // Waits until `index` cases are finished, or the target hangs or dies.
    TargetState waitFor(uint64_t index);
    TargetState command(wire::Command command, uint64_t argument = 0,
                        std::chrono::milliseconds limit = std::chrono::seconds(120));

protected:
    Target() = default;
    // To be called when the harness is ready and each place of the ring is known.
    void resetRing();
    void addPlace(unsigned index, void* at) { places_[index] = static_cast<wire::RingSlot*>(at); }
    void checkInterrupt() const {
        if (interrupted && interrupted())
            throw Interrupted();
    }

    std::chrono::milliseconds hangLimit_{1000};
    bool keepSpare_ = false;
    unsigned starts_ = 0;
    uint64_t submitted_ = 0;
    uint64_t commands_ = 0;

private:
    wire::RingSlot& place(uint64_t index) { return *places_[index % wire::SLOTS]; }

    std::array<wire::RingSlot*, wire::SLOTS> places_{}; // in the target's memory
    uint64_t looked_ = 0; // cases before this one were looked through by strayRingWords()
    uint64_t baseline_[wire::H_COUNT] = {};
};

struct TargetOptions {
    TargetKind kind = TargetKind::QemuSvm;
    std::string harnessElf; // empty: beside the program, or as configured by CMake
    std::string harnessRom;
    std::string cpu = {}; // QEMU's -cpu, empty: max,+svm
};
std::unique_ptr<Target> makeTarget(const TargetOptions& options);

} // namespace horos::fuzz
