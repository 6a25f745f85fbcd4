#include "horos/fuzz/oracle.hpp"

#include "extra_state.hpp"

#include "horos/defs/x86.hpp"
#include "horos/model/svm/rules.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fmt/format.h>
#include <utility>

namespace horos::fuzz {

using horos::svm::Vmcb;
using namespace svm_model;

namespace {

// One scratch arena a thread: the page-aligned copy that the model reads, and the VMCB, which is
// not in it.
struct alignas(4096) Scratch {
    ArenaImage image = arenaTemplate();
    Vmcb vmcb{};
};
Scratch& scratch() {
    static thread_local Scratch arena;
    return arena;
}
uint64_t& word(uint64_t address) { return scratch().image[(address - wire::ARENA_PA) / 8]; }

// The arena, and what is known of the rest: on Bochs addresses at which there is neither memory
// nor a device read as ones (memory/memory.cc: readPhysicalPage()).
class TargetMemory final : public svm_model::Memory {
public:
    explicit TargetMemory(const Profile& profile)
        : bytes_(reinterpret_cast<const uint8_t*>(scratch().image.data())),
          onesUpTo_(profile.name.starts_with("bochs") ? profile.physical_limit() : 0) {}
    bool read(uint64_t address, std::span<uint8_t> to) const override {
        const uint64_t offset = address - wire::ARENA_PA;
        if (offset < wire::ARENA_SIZE && to.size() <= wire::ARENA_SIZE - offset) {
            std::memcpy(to.data(), bytes_ + offset, to.size());
            return true;
        }
        const bool absent = (address >= wire::MEMORY_SIZE && address < DEVICES) ||
                            (address >> 32 != 0 && address < onesUpTo_);
        if (onesUpTo_ == 0 || !absent)
            return false;
        std::fill(to.begin(), to.end(), uint8_t{0xff});
        return true;
    }

private:
    static constexpr uint64_t DEVICES = 0xc000'0000; // and the ROM: up to 4 GiB
    const uint8_t* bytes_;
    uint64_t onesUpTo_;
};

} // namespace

Oracle::Oracle(const Profile& profile)
    : profile_(profile), memory_(std::make_unique<TargetMemory>(profile)), baseline_{} {
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
    if (c.slot.flags & wire::TWICE)
        c.slot.flags &= wire::WITH_TWICE;
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
    auto* vmcb = reinterpret_cast<uint8_t*>(&scratch().vmcb);
    std::memcpy(vmcb, s.control, sizeof s.control);
    std::memcpy(vmcb + wire::SAVE_OFFSET, s.save, sizeof s.save);
    for (const WindowInfo& w : windows())
        std::memcpy(&word(w.place.address), s.window + w.place.offset, 8 * w.place.qwords);
    for (uint32_t i = 0; i < s.patches; ++i)
        word(s.patch[i].address) = s.patch[i].value;
    std::memcpy(&word(s.codeAddress), s.code, 8 * s.codeQwords);
}

void Oracle::unplace(const Case& c) {
    const wire::CaseSlot& s = c.slot;
    const ArenaImage& original = arenaTemplate();
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
    // The page of the ring was another case's VMCB, and that one's tables were others.
    m.vmcb_cache_is_fresh = false;
    m.tlb_is_fresh = sameTables;
    m.profile = &profile_;
    m.vmcb = &scratch().vmcb;
    m.memory = memory_.get();
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

namespace {
// Faults may follow one another until the stack is used up, or zeros be executed (two bytes each)
// from the first page to the tables.
constexpr unsigned LONG_COURSE = 5000;

bool runsOn(const Prediction& p) {
    return std::any_of(p.allowed.begin(), p.allowed.end(),
                       [](const Outcome& outcome) { return outcome.kind == OutcomeKind::RUNS_ON; });
}

// By the manual: a case that does not come back is not run (Oracle::fit), whatever a defect makes
// of it.
bool comesBack(const Prediction& plain) {
    return std::all_of(plain.allowed.begin(), plain.allowed.end(), [](const Outcome& outcome) {
        return outcome.kind != OutcomeKind::RUNS_ON && outcome.kind != OutcomeKind::HALTED &&
               outcome.kind != OutcomeKind::SHUTDOWN && outcome.kind != OutcomeKind::UNSPECIFIED;
    });
}
} // namespace

Prediction Oracle::ask(Machine& m, const Deviations& deviations) {
    m.deviations = deviations;
    Prediction p = svm_model::predict(m);
    if (deviations.any() && runsOn(p) && p.deviated.any()) {
        m.deviations = {};
        const bool followed = comesBack(svm_model::predict(m));
        m.deviations = deviations;
        if (followed) {
            const unsigned usual = std::exchange(m.max_instructions, LONG_COURSE);
            p = svm_model::predict(m);
            m.max_instructions = usual;
        }
    }
    if (fault)
        fault(m, p);
    return p;
}

Prediction Oracle::predict(const Case& c, const Deviations& deviations) {
    if (c.slot.flags & wire::TWICE)
        return predictSecond(c, deviations);
    place(c);
    Machine m = machine(c);
    Prediction p = ask(m, deviations);
    unplace(c);
    return p;
}

Oracle::Both Oracle::predictBoth(const Case& c, const Deviations& defects) {
    if (c.slot.flags & wire::TWICE) {
        Both both{predictSecond(c, {}), nullptr};
        if (Prediction p = predictSecond(c, defects); p.deviated.any())
            both.withDefects = std::make_unique<Prediction>(std::move(p));
        return both;
    }
    place(c);
    Machine m = machine(c);
    Both both{ask(m, defects), nullptr};
    if (both.plain.deviated.any()) {
        both.withDefects = std::make_unique<Prediction>(std::move(both.plain));
        both.plain = ask(m, {});
    }
    unplace(c);
    return both;
}

void Oracle::withMachine(const Case& c, const std::function<void(const Machine&)>& use) {
    if (c.slot.flags & wire::TWICE) {
        withSecond(c, {}, [&](Machine& m, const Kept&) { use(m); });
        return;
    }
    place(c);
    use(machine(c));
    unplace(c);
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
    if (c.slot.flags & wire::TWICE)
        c.slot.windows = (1u << WINDOW_COUNT) - 1; // the earlier guest wrote there
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
