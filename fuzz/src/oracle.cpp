#include "horos/fuzz/oracle.hpp"

#include "horos/defs/x86.hpp"
#include "horos/model/svm/rules.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fmt/format.h>

namespace horos::fuzz {

using horos::svm::Vmcb;
using namespace svm_model;

namespace {

// One scratch arena a thread: the page-aligned copy that the model reads.
struct alignas(4096) Scratch {
    ArenaImage image = arenaTemplate();
};
Scratch& scratch() {
    static thread_local Scratch arena;
    return arena;
}
uint64_t& word(uint64_t address) { return scratch().image[(address - wire::ARENA_PA) / 8]; }
uint8_t byteOf(const uint64_t* words, uint64_t offset) {
    return reinterpret_cast<const uint8_t*>(words)[offset];
}

std::span<const uint8_t> scratchBytes() {
    return {reinterpret_cast<const uint8_t*>(scratch().image.data()), wire::ARENA_SIZE};
}

constexpr size_t EXTRA_FIRST = offsetof(Vmcb, save) + offsetof(horos::svm::SaveArea, star);
constexpr size_t EXTRA_BYTES = 64; // STAR to SYSENTER_EIP
struct Range {
    size_t offset, bytes;
};
// What VMLOAD loads and VMSAVE stores.
constexpr Range EXTRA_RANGES[] = {
    {0x440, 32}, {0x470, 16}, {0x490, 16}, {EXTRA_FIRST, EXTRA_BYTES}};

void copyExtra(Vmcb& to, const Vmcb& from) {
    for (Range range : EXTRA_RANGES)
        std::memcpy(reinterpret_cast<uint8_t*>(&to) + range.offset,
                    reinterpret_cast<const uint8_t*>(&from) + range.offset, range.bytes);
}

bool extraDiffers(const Vmcb& a, const Vmcb& b) {
    for (Range range : EXTRA_RANGES)
        if (std::memcmp(reinterpret_cast<const uint8_t*>(&a) + range.offset,
                        reinterpret_cast<const uint8_t*>(&b) + range.offset, range.bytes) != 0)
            return true;
    return false;
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

// The VMCB page after the case: what came back over what was there.
Vmcb vmcbAfter(const Case& c, const wire::ResultSlot& r) {
    Vmcb v{};
    auto* bytes = reinterpret_cast<uint8_t*>(&v);
    for (uint32_t i = 0; i < c.slot.patches; ++i)
        if (c.slot.patch[i].address < wire::ARENA_PA + 4096)
            std::memcpy(bytes + (c.slot.patch[i].address - wire::ARENA_PA), &c.slot.patch[i].value,
                        8);
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

Oracle::Oracle(const Profile& profile)
    : profile_(profile), memory_(wire::ARENA_PA, scratchBytes()), baseline_{} {
    baseline_[wire::H_CR0] = 0x80010033;
    baseline_[wire::H_CR4] = x86::cr4::PAE;
    baseline_[wire::H_EFER] = 0x1d01;
    baseline_[wire::H_RFLAGS] = 2;
    baseline_[wire::H_HSAVE_PA] = wire::HSAVE_PA;
}

void Oracle::setBaseline(const uint64_t (&host)[wire::H_COUNT]) {
    std::memcpy(baseline_, host, sizeof baseline_);
}

namespace {
// Two-byte openings of instructions that change state which #VMEXIT does not switch back; then the
// harness has to put it right.
bool changesExtraState(const Case& c) {
    auto code = c.code();
    for (size_t i = 0; i + 1 < code.size(); ++i) {
        uint8_t a = code[i], b = code[i + 1];
        bool system = a == 0x0f && (b == 0x00 || b == 0x30 || b == 0xae || b == 0xa1 || b == 0xa9 ||
                                    b == 0xb2 || b == 0xb4 || b == 0xb5 || b == 0x07 || b == 0x35);
        bool group = a == 0x0f && b == 0x01; // SWAPGS, VMLOAD
        if (system || group || a == 0x8e || a == 0xcf || a == 0xea || a == 0xff)
            return true;
    }
    return false;
}

bool writesDebugRegister(const Case& c) {
    auto code = c.code();
    for (size_t i = 0; i + 1 < code.size(); ++i)
        if (code[i] == 0x0f && code[i + 1] == 0x23)
            return true;
    return false;
}
} // namespace

void Oracle::settle(Case& c) {
    if (changesExtraState(c))
        c.slot.flags |= wire::VMLOAD;
    if (writesDebugRegister(c))
        c.slot.flags |= wire::DEBUG_REGS;
    if (extraDiffers(c.vmcb(), baseState()))
        c.slot.flags |= wire::VMLOAD;
    if (c.slot.dr[0] | c.slot.dr[1] | c.slot.dr[2] | c.slot.dr[3])
        c.slot.flags |= wire::DEBUG_REGS;
    else if (!(c.slot.flags & wire::DEBUG_REGS))
        std::memset(c.slot.dr, 0, sizeof c.slot.dr);
}

void Oracle::place(const Case& c) {
    const wire::CaseSlot& s = c.slot;
    auto* arena = scratch().image.data();
    std::memcpy(arena, s.control, sizeof s.control);
    std::memcpy(arena + wire::SAVE_OFFSET / 8, s.save, sizeof s.save);
    for (const WindowInfo& w : windows())
        std::memcpy(&word(w.place.address), s.window + w.place.offset, 8 * w.place.qwords);
    for (uint32_t i = 0; i < s.patches; ++i)
        word(s.patch[i].address) = s.patch[i].value;
    std::memcpy(&word(s.codeAddress), s.code, 8 * s.codeQwords);
}

void Oracle::unplace(const Case& c) {
    const wire::CaseSlot& s = c.slot;
    const ArenaImage& original = arenaTemplate();
    std::memset(scratch().image.data(), 0, 4096);
    auto restore = [&](uint64_t address, size_t words) {
        std::memcpy(&word(address), &original[(address - wire::ARENA_PA) / 8], 8 * words);
    };
    for (const WindowInfo& w : windows())
        restore(w.place.address, w.place.qwords);
    for (uint32_t i = 0; i < s.patches; ++i)
        restore(s.patch[i].address, 1);
    restore(s.codeAddress, s.codeQwords);
}

Machine Oracle::machine(const Case& c) {
    const wire::CaseSlot& s = c.slot;
    Machine m;
    m.profile = &profile_;
    m.vmcb = reinterpret_cast<const Vmcb*>(scratch().image.data());
    m.memory = &memory_;
    m.max_instructions = 6; // programs have one to three, then a handler's HLT
    m.host.cr0 = baseline_[wire::H_CR0];
    m.host.cr4 = baseline_[wire::H_CR4];
    m.host.efer = baseline_[wire::H_EFER];
    if (s.flags & wire::NO_SVME)
        m.host.efer &= ~x86::efer::SVME;
    m.host.rflags = x86::rflags::ONE | (s.flags & wire::HOST_IF ? x86::rflags::IF : 0);
    m.host.rax = s.rax;
    m.host.vm_hsave_pa = s.flags & wire::SET_HSAVE ? s.hsave : wire::HSAVE_PA;
    m.host.cpl = s.flags & wire::USER_MODE ? 3 : 0;
    for (unsigned i = 0; i < 16; ++i)
        m.guest.gpr[i] = s.gpr[i];
    for (unsigned i = 0; i < 4; ++i)
        m.guest.dr[i] = s.flags & wire::DEBUG_REGS ? s.dr[i] : 0;
    m.guest.vmload(s.flags & wire::VMLOAD ? *m.vmcb : baseState());
    m.pending.nmi = s.flags & wire::PEND_NMI;
    if (s.flags & wire::PEND_INTR)
        m.pending.intr = wire::INTR_VECTOR;
    return m;
}

Prediction Oracle::predict(const Case& c, const Deviations& deviations) {
    place(c);
    Machine m = machine(c);
    m.deviations = deviations;
    if (deviations.any())
        m.max_instructions = 1500; // faults may follow one another until the stack is used up
    Prediction p = svm_model::predict(m);
    if (fault)
        fault(m, p);
    unplace(c);
    return p;
}

RuleState Oracle::ruleState(const Case& c) {
    place(c);
    RuleState state = extract(machine(c));
    unplace(c);
    return state;
}

namespace {
// With legacy PAE paging a target may touch the PDPEs, which no walk of the model writes: the
// window is handled always, so that this shows as a difference and not as a stray write.
bool usesPdpes(const Case& c) {
    const horos::svm::Vmcb v = c.vmcb();
    return (v.save.cr4 & x86::cr4::PAE) && (v.save.cr0 & x86::cr0::PG) &&
           !(v.save.efer & x86::efer::LME);
}
} // namespace

Unfit Oracle::fit(Case& c, const Prediction& prediction) const {
    c.slot.windows = changedWindows(c.slot);
    if (usesPdpes(c))
        c.slot.windows |= 1u << unsigned(WindowId::Tables);
    for (const Outcome& outcome : prediction.allowed) {
        switch (outcome.kind) {
        case OutcomeKind::UNSPECIFIED:
            return Unfit::Unspecified;
        case OutcomeKind::HALTED:
        case OutcomeKind::SHUTDOWN:
        case OutcomeKind::RUNS_ON:
            return Unfit::NeverReturns;
        default:
            break;
        }
        for (const MemoryWrite& write : outcome.writes) {
            unsigned window = 0;
            uint64_t address = write.address & ~7ull;
            bool patched = false;
            for (uint32_t i = 0; i < c.slot.patches; ++i)
                patched |= c.slot.patch[i].address == address;
            if (windowIndex(address, &window) >= 0)
                c.slot.windows |= 1u << window;
            else if (!patched)
                return Unfit::WritesOutside;
        }
    }
    return Unfit::No;
}

std::vector<Finding> Oracle::compare(const Case& c, const Prediction& prediction,
                                     const wire::ResultSlot& r, const Deviations& deviations) {
    Observation seen;
    seen.kind = observedKind(r);
    Vmcb after = vmcbAfter(c, r);
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
    place(c);
    Machine m = machine(c);
    std::vector<Finding> findings;
    for (const Difference& d : svm_model::compare(prediction, m, seen))
        findings.push_back({placeName(d.field, r), d.expected, d.known, d.observed, d.section});
    unplace(c);
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

bool applyRuleState(const RuleState& from, const RuleState& to, Case& c) {
    HostState host;
    Vmcb vmcb = c.vmcb();
    apply(to, vmcb, host);
    c.setVmcb(vmcb);
    for (const RuleFieldInfo& info : rule_fields()) {
        const uint64_t was = from[info.field], now = to[info.field];
        if (was == now || info.place == FieldPlace::VMCB)
            continue;
        switch (info.field) {
        case RuleField::RAX:
            c.slot.rax = now;
            break;
        case RuleField::HOST_VM_HSAVE_PA:
            c.slot.flags |= wire::SET_HSAVE;
            c.slot.hsave = now;
            break;
        case RuleField::HOST_EFER:
            if ((was ^ now) != x86::efer::SVME)
                return false;
            c.slot.flags |= wire::NO_SVME;
            break;
        case RuleField::HOST_CPL:
            if (now != 3)
                return false;
            c.slot.flags |= wire::USER_MODE;
            break;
        case RuleField::PDPE0:
        case RuleField::PDPE1:
        case RuleField::PDPE2:
        case RuleField::PDPE3: {
            uint64_t address = (to[RuleField::CR3] & 0xffffffe0) +
                               8 * (unsigned(info.field) - unsigned(RuleField::PDPE0));
            if (address < wire::ARENA_PA || address >= wire::ARENA_PA + wire::ARENA_SIZE)
                return false;
            c.poke(address, now);
            break;
        }
        default:
            return false;
        }
    }
    return true;
}

} // namespace horos::fuzz
