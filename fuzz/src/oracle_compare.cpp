// Holding what the harness brought back against a prediction.
#include "extra_state.hpp"
#include "horos/defs/x86.hpp"
#include "horos/fuzz/oracle.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fmt/format.h>

namespace horos::fuzz {

using horos::svm::Vmcb;
using namespace svm_model;

namespace {

uint8_t byteOf(const uint64_t* words, uint64_t offset) {
    return reinterpret_cast<const uint8_t*>(words)[offset];
}

// "memory[0x40407f50]" says little: names the window, and on the stack the distance from RSP.
std::string placeName(const std::string& field, const wire::ResultSlot& r) {
    unsigned long long address = 0;
    if (std::sscanf(field.c_str(), "memory[%llx]", &address) != 1)
        return field;
    unsigned window = 0;
    if (address < wire::ARENA_PA || windowIndex(address & ~7ull, &window) < 0)
        return field;
    std::string name(windows()[window].name);
    uint64_t rsp = r.save[offsetof(horos::svm::SaveArea, rsp) / 8];
    if (window == unsigned(WindowId::Stack))
        return fmt::format("{}[{:+d}]", name, int64_t((address & 0xfff) - (rsp & 0xfff)));
    return fmt::format("{}[{:#x}]", name, address & 0xfff);
}

Vmcb vmcbAfter(const wire::ResultSlot& r) {
    Vmcb v{};
    auto* bytes = reinterpret_cast<uint8_t*>(&v);
    std::memcpy(bytes, r.control, sizeof r.control);
    std::memcpy(bytes + wire::SAVE_OFFSET, r.save, sizeof r.save);
    return v;
}

} // namespace

OutcomeKind observedKind(const wire::ResultSlot& r) {
    if (r.status == wire::Status::Exception)
        return OutcomeKind::FAULT;
    constexpr size_t EXIT_CODE = offsetof(horos::svm::ControlArea, exit_code) / 8;
    // The low half decides what was meant; whether the high half is right is a field like others.
    return uint32_t(r.control[EXIT_CODE]) == 0xffffffff ? OutcomeKind::INVALID : OutcomeKind::EXIT;
}

std::vector<Finding> Oracle::compare(const Case& c, const Prediction& prediction,
                                     const wire::ResultSlot& r, const Deviations& deviations) {
    Observation seen;
    seen.kind = observedKind(r);
    Vmcb after = vmcbAfter(r);
    Vmcb stored{}; // what VMSAVE wrote; in the block itself VMRUN leaves those fields alone
    if (seen.kind == OutcomeKind::FAULT) {
        seen.fault.vector = x86::Vector(r.vector);
        seen.fault.has_error_code = r.vector == 13;
        seen.fault.error_code = uint32_t(r.error);
    } else {
        if (c.slot.flags & wire::VMLOAD) {
            stored = after;
            copyExtra(after, c.vmcb());
            seen.vmsave = &stored;
        }
        seen.vmcb = &after;
        seen.gpr.emplace();
        std::copy(std::begin(r.gpr), std::end(r.gpr), seen.gpr->begin());
        if (c.slot.flags & wire::DEBUG_REGS) {
            seen.dr.emplace();
            std::copy(std::begin(r.dr), std::end(r.dr), seen.dr->begin());
        }
    }
    seen.changed.emplace();
    for (unsigned i = 0; i < WINDOW_COUNT; ++i) {
        const wire::Window& place = windows()[i].place;
        if (!(c.slot.windows >> i & 1) ||
            std::memcmp(r.window + place.offset, c.slot.window + place.offset, 8 * place.qwords) ==
                0)
            continue;
        for (uint64_t b = 0; b < 8 * place.qwords; ++b) {
            uint8_t now = byteOf(r.window + place.offset, b);
            if (now != byteOf(c.slot.window + place.offset, b))
                seen.changed->push_back({place.address + b, now, 0xff});
        }
    }
    std::sort(seen.changed->begin(), seen.changed->end(),
              [](const MemoryWrite& a, const MemoryWrite& b) { return a.address < b.address; });
    seen.memory = [&](uint64_t address) -> std::optional<uint8_t> {
        unsigned window = 0;
        int index = address < wire::ARENA_PA || address >= wire::ARENA_PA + wire::ARENA_SIZE
                        ? -1
                        : windowIndex(address & ~7ull, &window);
        if (index < 0)
            return std::nullopt; // a patched word: the harness does not bring it back
        const uint64_t* from = c.slot.windows >> window & 1 ? r.window : c.slot.window;
        return byteOf(from + index, address & 7);
    };
    static const Machine NONE; // an argument that the comparison has no use for
    std::vector<Finding> findings;
    for (const Difference& d : svm_model::compare(prediction, NONE, seen))
        findings.push_back({placeName(d.field, r), d.expected, d.known, d.observed, d.section});
    compareHost(c, r, seen.kind != OutcomeKind::FAULT, deviations, findings);
    compareEvents(c, prediction, r, findings);
    return findings;
}

namespace {
// Deviation::HOST_CR0_LOST: where the guest ends with EFER.LME but neither PG nor PAE, CR0 stays.
std::optional<uint64_t> lostCr0(const wire::ResultSlot& r) {
    const auto word = [&](size_t offset) { return r.save[offset / 8]; };
    const uint64_t cr0 = word(offsetof(horos::svm::SaveArea, cr0));
    const bool kept = !(cr0 & x86::cr0::PG) &&
                      !(word(offsetof(horos::svm::SaveArea, cr4)) & x86::cr4::PAE) &&
                      (word(offsetof(horos::svm::SaveArea, efer)) & x86::efer::LME);
    return kept ? std::optional(cr0 | x86::cr0::ET) : std::nullopt;
}
} // namespace

// What #VMEXIT must have restored (APM vol. 2 §15.6). DR6, DR0-DR3 and CR2 are not switched.
void Oracle::compareHost(const Case& c, const wire::ResultSlot& r, bool exited,
                         const Deviations& deviations, std::vector<Finding>& findings) const {
    struct Check {
        wire::HostReg reg;
        const char* name;
        uint64_t mask;
    };
    static constexpr Check CHECKS[] = {
        {wire::H_CR0, "host.cr0", ~0ull},
        {wire::H_CR3, "host.cr3", ~0ull},
        {wire::H_CR4, "host.cr4", ~0ull},
        {wire::H_CR8, "host.cr8", ~0ull},
        {wire::H_EFER, "host.efer", ~0ull},
        {wire::H_DR7, "host.dr7", ~0ull},
        {wire::H_GDTR_BASE, "host.gdtr.base", ~0ull},
        {wire::H_GDTR_LIMIT, "host.gdtr.limit", ~0ull},
        {wire::H_IDTR_BASE, "host.idtr.base", ~0ull},
        {wire::H_IDTR_LIMIT, "host.idtr.limit", ~0ull},
        {wire::H_SELECTORS, "host.selectors", ~0ull},
        {wire::H_RSP_DELTA, "host.rsp", ~0ull},
    };
    if (!exited)
        return; // VMRUN faulted before it touched the host
    for (const Check& check : CHECKS) {
        // without V_INTR_MASKING the guest's CR8 is the host's (§15.21.2)
        if (check.reg == wire::H_CR8 && !(c.slot.control[0x60 / 8] & 1 << 24))
            continue;
        uint64_t expected = baseline_[check.reg];
        if (check.reg == wire::H_CR0 && deviations.test(Deviation::HOST_CR0_LOST))
            expected = lostCr0(r).value_or(expected);
        if ((r.host[check.reg] ^ expected) & check.mask)
            findings.push_back({check.name, expected, check.mask, r.host[check.reg],
                                "APM vol. 2 rev. 3.42 §15.6"});
    }
    constexpr uint64_t IF = x86::rflags::IF;
    uint64_t flag = c.slot.flags & wire::HOST_IF ? IF : 0;
    if ((r.host[wire::H_RFLAGS] & (IF | x86::rflags::TF | x86::rflags::VM)) != flag)
        findings.push_back({"host.rflags", flag, IF | x86::rflags::TF | x86::rflags::VM,
                            r.host[wire::H_RFLAGS], "APM vol. 2 rev. 3.42 §15.6"});
    if (r.gpr[0] != c.slot.rax)
        findings.push_back({"host.rax", c.slot.rax, ~0ull, r.gpr[0], "APM vol. 2 rev. 3.42 §15.6"});
}

// GIF is 0 after #VMEXIT, so nothing may have come before STGI; and what the guest did not
// consume must come then.
void Oracle::compareEvents(const Case& c, const Prediction& p, const wire::ResultSlot& r,
                           std::vector<Finding>& findings) const {
    if (r.early)
        findings.push_back({"host.gif", 0, ~0ull, r.early, "APM vol. 2 rev. 3.42 §15.17"});
    if (!(c.slot.flags & (wire::PEND_NMI | wire::PEND_INTR)) || p.allowed.size() != 1)
        return;
    const Outcome& outcome = p.allowed.front();
    // An intercepted event stays pending; the model's exit tells which was taken.
    bool pendingNmi = c.slot.flags & wire::PEND_NMI;
    if (pendingNmi && outcome.kind == OutcomeKind::EXIT && outcome.exit_code == ExitCode::NMI &&
        r.nmis != 1)
        findings.push_back({"host.pending.nmi", 1, ~0ull, r.nmis, "APM vol. 2 rev. 3.42 §15.13.2"});
    bool pendingIntr = c.slot.flags & wire::PEND_INTR;
    if (pendingIntr && outcome.kind == OutcomeKind::EXIT && outcome.exit_code == ExitCode::INTR &&
        r.intrs != 1)
        findings.push_back(
            {"host.pending.intr", 1, ~0ull, r.intrs, "APM vol. 2 rev. 3.42 §15.13.1"});
}

} // namespace horos::fuzz
