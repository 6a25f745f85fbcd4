// The model's entry points.
//
//     Machine m;  m.profile = &builtin_profile("qemu-7.2-max");
//     m.vmcb = &vmcb;  m.memory = &ram;  m.host.rax = vmcb_pa;  ...
//     Prediction p = predict(m);
//     Observation seen = ...;                       // what the target did
//     std::vector<Difference> d = compare(p, m, seen);  // empty: allowed
//
// predict() is a pure function: no global state, safe from several threads.
#pragma once

#include "horos/model/svm/outcome.hpp"

#include <functional>
#include <span>
#include <vector>

namespace horos::model::svm {

Prediction predict(const Machine& machine);

// What a TLB may hold of these pages when a guest with this VMCB has run: all that the tables
// translate, whatever the guest touched, since a processor may walk ahead of it. `pages` are linear
// addresses; without guest paging guest-physical ones. The walks are those of the tables as they
// are: where a change of them mixes old and new entries in one walk, ask for each mixture.
std::vector<TlbEntry> translations(const Machine& machine, std::span<const uint64_t> pages);

// What a target did, as far as the harness could see it. Leave out what it could not.
struct Observation {
    OutcomeKind kind = OutcomeKind::EXIT; // FAULT, INVALID (exit code -1), EXIT; others if seen
    HostFault fault;
    const Vmcb* vmcb = nullptr; // after the exit
    std::optional<std::array<uint64_t, 16>> gpr;
    std::optional<std::array<uint64_t, 4>> dr;
    // The state that VMSAVE stored after the exit, in the VMCB layout.
    const Vmcb* vmsave = nullptr;
    // One byte of memory after the exit; not called for addresses that the model did not predict
    // to change.
    std::function<std::optional<uint8_t>(uint64_t address)> memory;
    // System-physical bytes that did change, if the harness knows them all.
    std::optional<std::vector<MemoryWrite>> changed;
};

struct Difference {
    std::string field; // "kind", "exit_code", "save.rip", "gpr.rcx", "memory[12345]" ...
    uint64_t expected = 0;
    uint64_t known = ~0ull;
    uint64_t observed = 0;
    std::string section; // of the manual, for the field
};

// The differences against the alternative that fits best; empty if one is allowed entirely.
// A prediction with an UNSPECIFIED alternative allows everything.
std::vector<Difference> compare(const Prediction& prediction, const Machine& machine,
                                const Observation& seen);

// Names for reports.
std::string exit_code_name(ExitCode code); // "VMEXIT_CPUID"; "VMEXIT_0x123" if undefined
std::string_view kind_name(OutcomeKind kind);
std::string_view gpr_name(Gpr gpr);

} // namespace horos::model::svm
