#include "horos/fuzz/faults.hpp"

#include "horos/model/svm/rules.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

namespace horos::fuzz {

using namespace svm_model;
using horos::svm::ControlArea;
using horos::svm::SaveArea;

namespace {

constexpr size_t save(size_t offset) { return wire::SAVE_OFFSET + offset; }

uint64_t getField(const Outcome& o, size_t offset, size_t bytes) {
    uint64_t value = 0;
    std::memcpy(&value, o.vmcb.value.data() + offset, bytes);
    return value;
}
uint64_t knownOf(const Outcome& o, size_t offset, size_t bytes) {
    uint64_t value = 0;
    std::memcpy(&value, o.vmcb.known.data() + offset, bytes);
    return value;
}
void setField(Outcome& o, size_t offset, size_t bytes, uint64_t value) {
    std::memcpy(o.vmcb.value.data() + offset, &value, bytes);
}

bool ran(const Outcome& o) { return o.kind == OutcomeKind::EXIT; }
bool exitIs(const Outcome& o, ExitCode code) { return ran(o) && o.exit_code == code; }

void makeInvalid(Outcome& o) {
    o.kind = OutcomeKind::INVALID;
    o.exit_code = ExitCode::INVALID;
    setField(o, offsetof(ControlArea, exit_code), 8, ~0ull);
    std::memset(o.vmcb.known.data() + offsetof(ControlArea, exit_code), 0xff, 8);
}

// The model believes that the guest would run to an HLT exit, and nothing more.
void makeEntered(Outcome& o) {
    o.kind = OutcomeKind::EXIT;
    o.exit_code = ExitCode::HLT;
    o.vmcb.known.fill(0);
    setField(o, offsetof(ControlArea, exit_code), 8, uint64_t(ExitCode::HLT));
    std::memset(o.vmcb.known.data() + offsetof(ControlArea, exit_code), 0xff, 8);
}

using Edit = std::function<void(const Machine&, Outcome&)>;

Fault edit(std::string name, std::string kind, Edit change) {
    return {std::move(name), std::move(kind), [change](const Machine& m, Prediction& p) {
                for (Outcome& o : p.allowed)
                    change(m, o);
            }};
}

// The rule is forgotten: a case that breaks it alone is expected to enter.
Fault missingRule(const RuleInfo& rule) {
    return {fmt::format("without {}", rule.name), "missing rule",
            [id = rule.id](const Machine&, Prediction& p) {
                RuleSet broken = p.broken & p.applicable;
                if (broken.count() == 1 && broken.test(size_t(id)))
                    for (Outcome& o : p.allowed)
                        makeEntered(o);
            },
            std::string(rule.name)};
}

// Bits of a field are changed wherever the field is known and `when` holds.
Fault fieldFault(std::string name, std::string kind, size_t offset, size_t bytes,
                 std::function<bool(const Outcome&)> when,
                 std::function<uint64_t(uint64_t)> change) {
    return edit(std::move(name), std::move(kind), [=](const Machine&, Outcome& o) {
        if (ran(o) && when(o) && knownOf(o, offset, bytes))
            setField(o, offset, bytes, change(getField(o, offset, bytes)));
    });
}

auto always = [](const Outcome&) { return true; };
auto exitWas(ExitCode code) {
    return [code](const Outcome& o) { return o.exit_code == code; };
}

// The wrong mask: a bit that is free is taken for reserved.
Fault falseRule(std::string name, size_t offset, uint64_t bit) {
    return edit(std::move(name), "wrong mask", [=](const Machine& m, Outcome& o) {
        uint64_t value;
        std::memcpy(&value, reinterpret_cast<const uint8_t*>(m.vmcb) + offset, 8);
        if (ran(o) && (value & bit))
            makeInvalid(o);
    });
}

void addMasks(std::vector<Fault>& f) {
    f.push_back(falseRule("CR0.AM reserved", save(offsetof(SaveArea, cr0)), 1 << 18));
    f.push_back(falseRule("CR4.DE reserved", save(offsetof(SaveArea, cr4)), 1 << 3));
    f.push_back(falseRule("CR4.PGE reserved", save(offsetof(SaveArea, cr4)), 1 << 7));
    f.push_back(falseRule("EFER.NXE reserved", save(offsetof(SaveArea, efer)), 1 << 11));
    f.push_back(falseRule("DR7.L0 reserved", save(offsetof(SaveArea, dr7)), 1));
    f.push_back(falseRule("DR6 bit 0 reserved", save(offsetof(SaveArea, dr6)), 1));
    f.push_back(falseRule("EVENTINJ error code taken for reserved",
                          offsetof(ControlArea, event_inj), 1ull << 33));
    f.push_back(falseRule("RFLAGS.TF refused", save(offsetof(SaveArea, rflags)), 1 << 8));
    f.push_back(falseRule("interrupt shadow refused", offsetof(ControlArea, int_state), 1));
    f.push_back(falseRule("V_IRQ refused", offsetof(ControlArea, int_ctl), 1 << 8));
}

void addExits(std::vector<Fault>& f) {
    auto wrongCode = [&](const char* name, ExitCode from, ExitCode to) {
        f.push_back(edit(name, "wrong exit", [=](const Machine&, Outcome& o) {
            if (!exitIs(o, from))
                return;
            o.exit_code = to;
            setField(o, offsetof(ControlArea, exit_code), 8, uint64_t(to));
        }));
    };
    wrongCode("CPUID exits as RSM", ExitCode::CPUID, ExitCode::RSM);
    wrongCode("RDTSC exits as RDPMC", ExitCode::RDTSC, ExitCode::RDPMC);
    wrongCode("CR0 write exits as selective write", ExitCode::CR0_WRITE, ExitCode::CR0_SEL_WRITE);
    wrongCode("INVLPG exits as INVLPGA", ExitCode::INVLPG, ExitCode::INVLPGA);
    wrongCode("VMLOAD exits as VMSAVE", ExitCode::VMLOAD, ExitCode::VMSAVE);
    wrongCode("PAUSE exits as HLT", ExitCode::PAUSE, ExitCode::HLT);
    wrongCode("IDTR read exits as GDTR read", ExitCode::IDTR_READ, ExitCode::GDTR_READ);
    wrongCode("NPF exits as #PF", ExitCode::NPF, exit_code(ExitCode::EXCEPTION_0, 14));
    wrongCode("#GP exits as #SS", exit_code(ExitCode::EXCEPTION_0, 13),
              exit_code(ExitCode::EXCEPTION_0, 12));
    wrongCode("#UD before the exit of VMRUN", ExitCode::VMRUN, exit_code(ExitCode::EXCEPTION_0, 6));
    wrongCode("#GP before the exit of RDMSR and WRMSR", ExitCode::MSR,
              exit_code(ExitCode::EXCEPTION_0, 13));
    wrongCode("shutdown exits as INIT", ExitCode::SHUTDOWN, ExitCode::INIT);
}

void addInformation(std::vector<Fault>& f) {
    const size_t info1 = offsetof(ControlArea, exit_info_1);
    const size_t info2 = offsetof(ControlArea, exit_info_2);
    const size_t intInfo = offsetof(ControlArea, exit_int_info);
    auto flip = [](uint64_t bits) { return [bits](uint64_t v) { return v ^ bits; }; };
    auto clear = [](uint64_t bits) { return [bits](uint64_t v) { return v & ~bits; }; };
    const char* kind = "wrong exit info";
    f.push_back(
        fieldFault("IOIO direction inverted", kind, info1, 8, exitWas(ExitCode::IOIO), flip(1)));
    f.push_back(
        fieldFault("IOIO port lost", kind, info1, 8, exitWas(ExitCode::IOIO), clear(0xffff0000)));
    f.push_back(
        fieldFault("IOIO operand size wrong", kind, info1, 8, exitWas(ExitCode::IOIO), flip(0x30)));
    f.push_back(
        fieldFault("IOIO string bit lost", kind, info1, 8, exitWas(ExitCode::IOIO), clear(4)));
    f.push_back(fieldFault("IOIO next RIP off by one", kind, info2, 8, exitWas(ExitCode::IOIO),
                           [](uint64_t v) { return v + 1; }));
    f.push_back(
        fieldFault("MSR direction inverted", kind, info1, 8, exitWas(ExitCode::MSR), flip(1)));
    f.push_back(
        fieldFault("NPF present bit inverted", kind, info1, 8, exitWas(ExitCode::NPF), flip(1)));
    f.push_back(
        fieldFault("NPF write bit inverted", kind, info1, 8, exitWas(ExitCode::NPF), flip(2)));
    f.push_back(fieldFault("NPF final bit lost", kind, info1, 8, exitWas(ExitCode::NPF),
                           clear(1ull << 32)));
    f.push_back(
        fieldFault("NPF address page wrong", kind, info2, 8, exitWas(ExitCode::NPF), flip(0x1000)));
    f.push_back(fieldFault("#PF error code: write inverted", kind, info1, 8,
                           exitWas(exit_code(ExitCode::EXCEPTION_0, 14)), flip(2)));
    f.push_back(fieldFault("#PF address lost", kind, info2, 8,
                           exitWas(exit_code(ExitCode::EXCEPTION_0, 14)),
                           [](uint64_t) { return 1; }));
    f.push_back(
        fieldFault("EXITINTINFO valid bit lost", kind, intInfo, 8, always, clear(1ull << 31)));
}

void addSavedState(std::vector<Fault>& f) {
    auto flip = [](uint64_t bits) { return [bits](uint64_t v) { return v ^ bits; }; };
    auto afterOne = [](const Outcome& o) { return o.instructions > 0; };
    const char* kind = "wrong saved state";
    f.push_back(fieldFault("RIP one too far", kind, save(offsetof(SaveArea, rip)), 8, always,
                           [](uint64_t v) { return v + 1; }));
    f.push_back(fieldFault("RIP of completed instructions not advanced", kind,
                           save(offsetof(SaveArea, rip)), 8, afterOne,
                           [](uint64_t v) { return v - 1; }));
    f.push_back(fieldFault(
        "RSP after delivery wrong", kind, save(offsetof(SaveArea, rsp)), 8,
        [](const Outcome& o) { return o.event_delivered; }, [](uint64_t v) { return v + 8; }));
    f.push_back(
        fieldFault("CPL saved wrong", kind, save(offsetof(SaveArea, cpl)), 1, always, flip(1)));
    f.push_back(fieldFault("RFLAGS.IF saved wrong", kind, save(offsetof(SaveArea, rflags)), 8,
                           always, flip(1 << 9)));
    f.push_back(fieldFault("CR0.TS saved wrong", kind, save(offsetof(SaveArea, cr0)), 8, afterOne,
                           flip(8)));
    f.push_back(fieldFault("CR2 saved wrong", kind, save(offsetof(SaveArea, cr2)), 8, always,
                           flip(0x1000)));
    f.push_back(fieldFault("EFER.LMA saved wrong", kind, save(offsetof(SaveArea, efer)), 8, always,
                           flip(1 << 10)));
    f.push_back(fieldFault("interrupt shadow not saved", kind, offsetof(ControlArea, int_state), 8,
                           always, [](uint64_t v) { return v & ~1ull; }));
    f.push_back(fieldFault(
        "V_IRQ stays after it was taken", kind, offsetof(ControlArea, int_ctl), 4,
        [](const Outcome& o) { return o.event_delivered; }, flip(1 << 8)));
    f.push_back(edit("CPUID returns another EAX", kind, [](const Machine&, Outcome& o) {
        if (ran(o) && o.instructions > 0)
            o.gpr[size_t(Gpr::RDX)].value ^= 1;
    }));
    f.push_back(edit("accessed and dirty bits not set", kind, [](const Machine&, Outcome& o) {
        if (ran(o) && o.memory_known)
            std::erase_if(o.writes,
                          [](const MemoryWrite& w) { return w.address < pageAddress(page::CODE); });
    }));
    f.push_back(edit("delivery pushes another error code", kind, [](const Machine&, Outcome& o) {
        if (ran(o) && o.event_delivered && !o.writes.empty())
            o.writes.back().value ^= 1;
    }));
}

// Of cases with an earlier VMRUN.
void addKept(std::vector<Fault>& f) {
    f.push_back({"a changed table is not seen", "stale state", [](const Machine& m, Prediction& p) {
                     if (m.tlb == nullptr || m.tlb->empty())
                         return;
                     Machine other = m;
                     other.tlb_is_fresh = true;
                     const Prediction tables = predict(other);
                     other.tlb_is_fresh = false;
                     Prediction stale = predict(other);
                     std::erase_if(stale.allowed, [&](const Outcome& o) {
                         return std::any_of(
                             tables.allowed.begin(), tables.allowed.end(), [&](const Outcome& t) {
                                 return t.kind == o.kind && t.vmcb.value == o.vmcb.value;
                             });
                     });
                     if (!stale.allowed.empty())
                         p.allowed = std::move(stale.allowed);
                 }});
    f.push_back(edit("CR2 behind its clean bit is the old one", "stale state",
                     [](const Machine& m, Outcome& o) {
                         constexpr uint32_t CLEAN_CR2 = bit(horos::svm::CleanBit::CR2);
                         const size_t cr2 = save(offsetof(SaveArea, cr2));
                         if (m.vmcb_cached != nullptr && ran(o) &&
                             (m.vmcb->control.clean_bits & CLEAN_CR2) != 0 &&
                             getField(o, cr2, 8) == m.vmcb->save.cr2)
                             setField(o, cr2, 8, m.vmcb_cached->save.cr2);
                     }));
}

} // namespace

std::vector<Fault> seededFaults(const Profile& profile) {
    std::vector<Fault> faults;
    for (const RuleInfo& rule : all_rules())
        if (rule.strength == Strength::MUST && rule_applies(rule.id, Params(profile)))
            faults.push_back(missingRule(rule));
    addMasks(faults);
    addExits(faults);
    addInformation(faults);
    addSavedState(faults);
    addKept(faults);
    return faults;
}

} // namespace horos::fuzz
