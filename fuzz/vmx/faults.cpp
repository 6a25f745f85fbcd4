#include "faults.hpp"
#include "twice.hpp"

#include <algorithm>
#include <fmt/core.h>

namespace horos::fuzz::vmx {

namespace {

using namespace model::vmx;
using namespace horos::vmx;
using F = Field;

bool is(const GuestExit& e, ExitReason reason) { return e.reason == uint32_t(reason); }

void missing_rules(std::vector<Fault>& faults, const Profile& profile) {
    for (const RuleInfo& rule : all_rules()) {
        if (!rule_applies(rule.id, profile) || !reachable(rule.id) ||
            rule.strength == Strength::MAY) {
            continue;
        }
        Fault f{"without " + rule.name, "missing rule", rule.name};
        f.rules = [id = rule.id](const RuleState&, RuleSet& broken) { broken.reset(size_t(id)); };
        faults.push_back(f);
    }
}

void false_rules(std::vector<Fault>& faults) {
    const auto add = [&](std::string name, F field, uint64_t bits, RuleId rule) {
        Fault f{std::move(name), "wrong mask"};
        f.rules = [=](const RuleState& s, RuleSet& broken) {
            if ((s[field] & bits) != 0) {
                broken.set(size_t(rule));
            }
        };
        faults.push_back(f);
    };
    add("guest CR0.AM reserved", F::GUEST_CR0, x86::cr0::AM, RuleId::GUEST_CR0);
    add("guest CR4.DE reserved", F::GUEST_CR4, x86::cr4::DE, RuleId::GUEST_CR4);
    add("guest RFLAGS.TF refused", F::GUEST_RFLAGS, x86::rflags::TF, RuleId::GUEST_RFLAGS_RESERVED);
    add("blocking by NMI refused", F::GUEST_INTERRUPTIBILITY, 8, RuleId::BLOCKING_RESERVED);
    add("HLT activity refused", F::GUEST_ACTIVITY, 1, RuleId::ACTIVITY_VALUE);
    add("PAUSE exiting reserved", F::PROC_CONTROLS, proc::PAUSE_EXITING, RuleId::PROC_RESERVED);
    add("accessed flags of EPT refused", F::EPTP, eptp::ACCESSED_DIRTY, RuleId::EPTP_RESERVED);
    add("VPID above 255 refused", F::VPID, 0xff00, RuleId::VPID_ZERO);
}

// A broken rule answered as another: a wrong error number, or a wrong phase.
void wrong_failures(std::vector<Fault>& faults) {
    const auto add = [&](std::string name, RuleId from, RuleId to) {
        Fault f{std::move(name), "wrong failure"};
        f.rules = [=](const RuleState&, RuleSet& broken) {
            if (broken[size_t(from)]) {
                broken.reset(size_t(from));
                broken.set(size_t(to));
            }
        };
        faults.push_back(f);
    };
    add("host CR0 reported as a control", RuleId::HOST_CR0, RuleId::PIN_RESERVED);
    add("VPID 0 reported as host state", RuleId::VPID_ZERO, RuleId::HOST_CR3);
    add("guest CR3 checked with the controls", RuleId::GUEST_CR3, RuleId::PIN_RESERVED);
    add("link pointer with qualification 0", RuleId::LINK_ADDRESS, RuleId::GUEST_CR3);
    add("PDPTEs with qualification 0", RuleId::PDPTE_FIELDS, RuleId::GUEST_CR3);
    add("launch state before the current VMCS", RuleId::INSN_CURRENT_VMCS, RuleId::INSN_CLEAR);
    add("MOV SS after the controls", RuleId::INSN_MOV_SS, RuleId::PIN_RESERVED);
}

using Edit = std::function<void(GuestExit&)>;
void edit(std::vector<Fault>& faults, std::string name, std::string kind, Edit change) {
    Fault f{std::move(name), std::move(kind), "", Kind::GUEST};
    f.exit = [change](const Test&, GuestExit& e) { change(e); };
    faults.push_back(f);
}

void wrong_exits(std::vector<Fault>& faults, const Profile& profile) {
    const auto swap = [&](const char* name, ExitReason from, ExitReason to) {
        edit(faults, name, "wrong exit", [=](GuestExit& e) {
            if (is(e, from)) {
                e[F::EXIT_REASON].value = uint64_t(to);
            }
        });
    };
    swap("CPUID exits as RDTSC", ExitReason::CPUID, ExitReason::RDTSC);
    swap("RDTSCP exits as RDTSC", ExitReason::RDTSCP, ExitReason::RDTSC);
    swap("INVD exits as WBINVD", ExitReason::INVD, ExitReason::WBINVD);
    swap("SGDT exits as SLDT", ExitReason::GDTR_IDTR_ACCESS, ExitReason::LDTR_TR_ACCESS);
    swap("RDRAND exits as RDSEED", ExitReason::RDRAND, ExitReason::RDSEED);
    swap("EPT violation for misconfiguration", ExitReason::EPT_MISCONFIGURATION,
         ExitReason::EPT_VIOLATION);
    swap("interrupt window for NMI window", ExitReason::NMI_WINDOW, ExitReason::INTERRUPT_WINDOW);
    swap("VMREAD exits as VMWRITE", ExitReason::VMREAD, ExitReason::VMWRITE);
    swap("triple fault as #DF", ExitReason::TRIPLE_FAULT, ExitReason::EXCEPTION_OR_NMI);
    if (profile.proc.can(proc::MONITOR_TRAP_FLAG)) {
        swap("monitor trap overlooked", ExitReason::MONITOR_TRAP_FLAG, ExitReason::VMCALL);
    }
    swap("a task switch is done in the guest", ExitReason::TASK_SWITCH, ExitReason::VMCALL);
    swap("#UD before the exit of XSETBV", ExitReason::XSETBV, ExitReason::EXCEPTION_OR_NMI);
    swap("MOV DR checked for CPL first", ExitReason::MOV_DR, ExitReason::EXCEPTION_OR_NMI);
    swap("RDMSR outside the bitmaps does not exit", ExitReason::RDMSR, ExitReason::VMCALL);
    swap("APIC access overlooked", ExitReason::APIC_ACCESS, ExitReason::VMCALL);
    swap("APIC write completes without an exit", ExitReason::APIC_WRITE, ExitReason::VMCALL);
    swap("the EOI-exit bitmap is not read", ExitReason::VIRTUALIZED_EOI, ExitReason::VMCALL);
    swap("a TPR below the threshold goes on", ExitReason::TPR_BELOW_THRESHOLD, ExitReason::VMCALL);
    swap("preemption timer of 0 counts on", ExitReason::PREEMPTION_TIMER, ExitReason::VMCALL);
}

void wrong_information(std::vector<Fault>& faults, const Profile& profile) {
    const auto flip = [&](const char* name, ExitReason when, F field, uint64_t bits) {
        edit(faults, name, "wrong exit information", [=](GuestExit& e) {
            if (is(e, when)) {
                e[field].value ^= bits & e[field].known;
            }
        });
    };
    const F q = F::EXIT_QUALIFICATION, info = F::EXIT_INSTRUCTION_INFO;
    flip("task switch: source wrong", ExitReason::TASK_SWITCH, q, 1u << 30);
    flip("task switch: selector of the gate", ExitReason::TASK_SWITCH, q, 0x18);
    flip("I/O direction inverted", ExitReason::IO, q, io_access::IN);
    flip("I/O port lost", ExitReason::IO, q, 0x60u << 16);
    flip("REP not reported", ExitReason::IO, q, io_access::REP);
    flip("CR number wrong", ExitReason::CR_ACCESS, q, 1);
    flip("register of MOV CR wrong", ExitReason::CR_ACCESS, q, 1u << 8);
    flip("register of MOV DR wrong", ExitReason::MOV_DR, q, 1u << 9);
    flip("EPT violation: permissions inverted", ExitReason::EPT_VIOLATION, q, 7u << 3);
    flip("EPT violation: linear address not valid", ExitReason::EPT_VIOLATION, q, 1u << 7);
    flip("EPT violation: page table for page", ExitReason::EPT_VIOLATION, q, 1u << 8);
    flip("EPT violation: offset of the address lost", ExitReason::EPT_VIOLATION,
         F::GUEST_PHYSICAL_ADDRESS, 0x18);
    flip("EPT misconfiguration: no physical address", ExitReason::EPT_MISCONFIGURATION,
         F::GUEST_PHYSICAL_ADDRESS, ~0ull);
    flip("INVLPG: address of another page", ExitReason::INVLPG, q, 0x1000);
    flip("LMSW: source lost", ExitReason::CR_ACCESS, q, 0xffff0000);
    flip("SGDT: identity of SIDT", ExitReason::GDTR_IDTR_ACCESS, info, 1u << 28);
    flip("SLDT: register for memory", ExitReason::LDTR_TR_ACCESS, info, 1u << 10);
    flip("RDRAND: register wrong", ExitReason::RDRAND, info, 1u << 4);
    if (profile.proc2.can(proc2::RDSEED_EXITING)) {
        flip("RDSEED: operand size wrong", ExitReason::RDSEED, info, 1u << 11);
    }
    flip("VMREAD: second register wrong", ExitReason::VMREAD, info, 1u << 29);
    flip("VMPTRST: base register wrong", ExitReason::VMPTRST, info, 1u << 23);
    flip("VMPTRST: displacement not sign-extended", ExitReason::VMPTRST, q, 0xffffffff00000000);
    flip("OUTS: segment wrong", ExitReason::IO, info, 1u << 15);
    flip("exception: error code not valid", ExitReason::EXCEPTION_OR_NMI, F::EXIT_INTERRUPTION_INFO,
         1u << 11);
    flip("exception: software for hardware", ExitReason::EXCEPTION_OR_NMI,
         F::EXIT_INTERRUPTION_INFO, 5u << 8);
    flip("#PF: no address", ExitReason::EXCEPTION_OR_NMI, q, ~0ull);
    flip("error code: EXT inverted", ExitReason::EXCEPTION_OR_NMI, F::EXIT_INTERRUPTION_ERROR_CODE,
         1);
    flip("APIC access: offset lost", ExitReason::APIC_ACCESS, q, 0xff0);
    flip("APIC access: write for read", ExitReason::APIC_ACCESS, q, apic_access::LINEAR_WRITE);
    flip("APIC write: offset of the next register", ExitReason::APIC_WRITE, q, 0x10);
    flip("virtualised EOI: vector wrong", ExitReason::VIRTUALIZED_EOI, q, 0x10);
    flip("CPUID: length 3", ExitReason::CPUID, F::EXIT_INSTRUCTION_LENGTH, 1);
    flip("WRMSR: length 0", ExitReason::WRMSR, F::EXIT_INSTRUCTION_LENGTH, 2);
}

void wrong_state(std::vector<Fault>& faults) {
    const auto flip = [&](const char* name, F field, uint64_t bits, auto when) {
        edit(faults, name, "wrong saved state", [=](GuestExit& e) {
            if (when(e)) {
                e[field].value ^= bits & e[field].known;
            }
        });
    };
    const auto vectoring = [](const GuestExit& e) {
        return (e[F::IDT_VECTORING_INFO].value & interruption::VALID) != 0;
    };
    flip("HLT: RIP of the next instruction", F::GUEST_RIP, 1,
         [](const GuestExit& e) { return is(e, ExitReason::HLT); });
    flip("IDT vectoring not reported", F::IDT_VECTORING_INFO, interruption::VALID, vectoring);
    flip("IDT vectoring: wrong type", F::IDT_VECTORING_INFO, 1u << 8, vectoring);
    flip("IDT vectoring: error code lost", F::IDT_VECTORING_ERROR_CODE, ~0ull, vectoring);
    flip("a double fault keeps the first event", F::IDT_VECTORING_INFO, interruption::VALID,
         [](const GuestExit& e) {
             return (e[F::EXIT_INTERRUPTION_INFO].value & 0x800000ff) == 0x80000008;
         });
    flip("blocking by STI not saved", F::GUEST_INTERRUPTIBILITY, 1,
         [](const GuestExit& e) { return (e[F::GUEST_INTERRUPTIBILITY].value & 1) != 0; });
    flip("blocking by MOV SS not saved", F::GUEST_INTERRUPTIBILITY, 2,
         [](const GuestExit& e) { return (e[F::GUEST_INTERRUPTIBILITY].value & 2) != 0; });
    flip("an injected NMI does not block NMIs", F::GUEST_INTERRUPTIBILITY, 8,
         [](const GuestExit& e) { return (e[F::GUEST_INTERRUPTIBILITY].value & 8) != 0; });
    flip("HLT activity not saved", F::GUEST_ACTIVITY, 1,
         [](const GuestExit& e) { return e[F::GUEST_ACTIVITY].value == 1; });
    flip("CLTS clears a bit that the host owns", F::GUEST_CR0, x86::cr0::TS,
         [](const GuestExit& e) { return (e[F::GUEST_CR0].value & x86::cr0::TS) != 0; });
    flip("WRMSR does not reach the saved SYSENTER_CS", F::GUEST_SYSENTER_CS, 0xff,
         [](const GuestExit& e) { return e[F::GUEST_SYSENTER_CS].value != 0; });
    edit(faults, "the CR0 mask does not hide bits", "wrong register", [](GuestExit& e) {
        if (!e.path.empty() && e.path.front() == "mov: completed") {
            e.gpr[0].value ^= e.gpr[0].known & 0x80000001;
        }
    });
    edit(faults, "32-bit delivery pushes no instruction pointer", "wrong memory", [](GuestExit& e) {
        if (std::ranges::find(e.path, "32-bit gate") != e.path.end()) {
            e[F::GUEST_RSP].value += 4;
        }
    });
    const auto went = [](const GuestExit& e, std::string_view step) {
        return std::ranges::find(e.path, step) != e.path.end();
    };
    flip("an inner stack has the old level", F::GUEST_SS_SELECTOR, 3,
         [=](const GuestExit& e) { return went(e, "stack switch"); });
    flip("the interrupt-stack table is not read", F::GUEST_RSP, 0x40,
         [=](const GuestExit& e) { return went(e, "stack by IST"); });
    flip("virtual-8086 mode goes on in the handler", F::GUEST_RFLAGS, x86::rflags::VM,
         [=](const GuestExit& e) { return went(e, "stack switch from virtual-8086 mode"); });
    flip("#TS as #GP", F::EXIT_INTERRUPTION_INFO, 10 ^ 13, [](const GuestExit& e) {
        return (e[F::EXIT_INTERRUPTION_INFO].value & 0x800007ff) == 0x8000030a;
    });
    edit(faults, "an access that the I/O bitmaps leave alone exits", "wrong exit",
         [=](GuestExit& e) {
             if (went(e, "port input") || went(e, "port output")) {
                 e[F::EXIT_REASON].value = uint64_t(ExitReason::IO);
             }
         });
    edit(faults, "real-address mode keeps IF", "wrong saved state", [](GuestExit& e) {
        if (std::ranges::find(e.path, "real-mode vector") != e.path.end()) {
            e[F::GUEST_RFLAGS].value |= x86::rflags::IF;
        }
    });
    edit(faults, "a virtualization exception stores no address", "wrong memory", [](GuestExit& e) {
        if (const auto word = e.writes.find(VE_PA + 16); word != e.writes.end()) {
            word->second.value ^= word->second.known;
        }
    });
    edit(faults, "VMREAD of a shadow VMCS fails", "wrong saved state", [](GuestExit& e) {
        if (std::ranges::find(e.path, "shadow VMCS: done") != e.path.end()) {
            e[F::GUEST_RFLAGS].value ^= x86::rflags::ZF;
        }
    });
    edit(faults, "a store does not reach memory", "wrong memory",
         [](GuestExit& e) { e.writes.clear(); });
}

// The virtual-APIC page and the guest interrupt status.
void wrong_virtual_apic(std::vector<Fault>& faults) {
    const auto went = [](const GuestExit& e, std::string_view step) {
        return std::ranges::find(e.path, step) != e.path.end();
    };
    const auto flip_word = [&](const char* name, uint64_t offset, uint64_t bits, auto when) {
        edit(faults, name, "wrong virtual APIC", [=](GuestExit& e) {
            if (const auto word = e.writes.find(VAPIC_PA + offset);
                word != e.writes.end() && when(e)) {
                word->second.value ^= bits & word->second.known;
            }
        });
    };
    const auto flip_status = [&](const char* name, uint64_t bits, std::string_view step) {
        edit(faults, name, "wrong virtual APIC", [=](GuestExit& e) {
            if (went(e, step)) {
                Masked& status = e[F::GUEST_INTERRUPT_STATUS];
                status.value ^= bits & status.known;
            }
        });
    };
    flip_word("VPPR is not computed", 0xa0, 0xf0, [](const GuestExit&) { return true; });
    flip_word("CR8 does not reach the virtual TPR", 0x80, 0xf0,
              [=](const GuestExit& e) { return went(e, "CR8: virtual TPR"); });
    flip_word("the interrupt command keeps its low bytes", 0x310, 0xff,
              [](const GuestExit&) { return true; });
    flip_status("a delivered interrupt stays requested", 0xff, "virtual interrupt");
    flip_status("EOI leaves the interrupt in service", 0xff00, "EOI virtualisation");
    flip_status("a self-IPI requests nothing", 0xff, "self-IPI virtualisation");
    edit(faults, "a virtual interrupt does not enter service", "wrong virtual APIC",
         [=](GuestExit& e) {
             if (went(e, "virtual interrupt")) {
                 for (uint64_t n = 0; n < 8; ++n) {
                     e.writes.erase(VAPIC_PA + 0x100 + n * 16);
                 }
             }
         });
}

// Translations that a processor is said to use though they were invalidated, or though it may have
// lost them. (That it predicts too few cannot show on a target that flushes at every entry.)
void wrong_translations(std::vector<Fault>& faults, const Profile& profile) {
    const auto add = [&](std::string name, auto cached) {
        Fault f{std::move(name), "wrong translation", "", Kind::GUEST};
        f.cached = cached;
        faults.push_back(f);
    };
    const auto ignoring = [&](std::string name, TwiceInstruction instruction, uint32_t type) {
        add(std::move(name), [=](const Test& test, const Profile& p) {
            const bool this_one = test.twice.instruction == instruction && test.twice.type == type;
            return this_one ? made_mappings(test, p) : std::vector<Mapping>{};
        });
    };
    add("a cached translation is never lost", kept_mappings);
    ignoring("INVEPT of one context does nothing", TWICE_INVEPT, 1);
    ignoring("INVEPT of all contexts does nothing", TWICE_INVEPT, 2);
    ignoring("INVVPID of an address does nothing", TWICE_INVVPID, 0);
    ignoring("INVVPID of one context does nothing", TWICE_INVVPID, 1);
    ignoring("INVVPID of all contexts does nothing", TWICE_INVVPID, 2);
    ignoring("INVVPID that retains globals does nothing", TWICE_INVVPID, 3);
    add("mappings of another VPID are used", [](const Test& test, const Profile& p) {
        auto all = made_mappings(test, p);
        for (Mapping& m : all) {
            m.vpid = uint16_t(test.state[F::VPID]);
        }
        return test.twice.instruction == TWICE_NONE ? all : std::vector<Mapping>{};
    });
    add("mappings of another EP4TA are used", [](const Test& test, const Profile& p) {
        auto all = made_mappings(test, p);
        for (Mapping& m : all) {
            m.root = test.state[F::EPTP] & ept::ADDR;
        }
        const bool other = test.twice.fields != 0 && test.twice.instruction == TWICE_NONE;
        return other ? all : std::vector<Mapping>{};
    });
    if ((profile.cr4_fixed1 & x86::cr4::PCIDE) != 0) {
        add("mappings of another PCID are used", [](const Test& test, const Profile& p) {
            auto all = made_mappings(test, p);
            for (Mapping& m : all) {
                m.pcid = 0;
            }
            const bool other = test.twice.fields != 0 && test.twice.instruction == TWICE_NONE;
            return other ? all : std::vector<Mapping>{};
        });
    }
}

void wrong_steps(std::vector<Fault>& faults, const Profile& profile) {
    const auto add = [&](const char* name, auto change) {
        Fault f{name, "wrong instruction", "", Kind::SEQUENCE};
        f.step = change;
        faults.push_back(f);
    };
    const auto error = [&](const char* name, InstructionError from, InstructionError to) {
        add(name, [=](const Request&, Completion& c) {
            if (c.status == Completion::VMFAIL_VALID && c.error == from) {
                c.error = to;
                c.failures = {};
            }
        });
    };
    using Error = InstructionError;
    error("VMCLEAR of the VMXON region as a bad address", Error::VMCLEAR_VMXON_POINTER,
          Error::VMCLEAR_ADDRESS);
    error("VMPTRLD: revision as address", Error::VMPTRLD_REVISION, Error::VMPTRLD_ADDRESS);
    error("VMPTRLD: VMXON region as address", Error::VMPTRLD_VMXON_POINTER, Error::VMPTRLD_ADDRESS);
    if ((profile.misc & misc::VMWRITE_ANY) == 0) { // else no field is read-only
        error("read-only field as missing", Error::VMWRITE_READ_ONLY, Error::UNSUPPORTED_FIELD);
    }
    error("VMXON in root operation as VMCALL", Error::VMXON_IN_ROOT, Error::VMCALL_IN_ROOT);
    error("VMRESUME error for VMLAUNCH", Error::VMLAUNCH_NOT_CLEAR, Error::VMRESUME_NOT_LAUNCHED);
    error("INVEPT operand as field", Error::INVEPT_INVVPID_OPERAND, Error::UNSUPPORTED_FIELD);
    add("no current VMCS still gives an error number", [](const Request& r, Completion& c) {
        if (c.status == Completion::VMFAIL_INVALID && r.instruction == Instruction::VMREAD) {
            c.status = Completion::VMFAIL_VALID;
        }
    });
    add("outside VMX operation #GP for #UD", [](const Request&, Completion& c) {
        c.status = c.status == Completion::UD ? Completion::GP : c.status;
    });
    add("VMPTRST of no VMCS stores 0", [](const Request& r, Completion& c) {
        if (r.instruction == Instruction::VMPTRST && c.value == NO_VMCS) {
            c.value = 0;
        }
    });
    add("INVVPID takes VPID 0", [](const Request& r, Completion& c) {
        if (r.instruction == Instruction::INVVPID && (r.value & 0xffff) == 0) {
            c.status = Completion::SUCCEED;
        }
    });
    add("VMREAD of a high half gives the low one", [](const Request& r, Completion& c) {
        if (r.instruction == Instruction::VMREAD && (r.operand & 1) != 0 && c.known) {
            c.value ^= 0x1000;
        }
    });
}

} // namespace

std::vector<Fault> seeded_faults(const Profile& profile) {
    std::vector<Fault> faults;
    missing_rules(faults, profile);
    false_rules(faults);
    wrong_failures(faults);
    wrong_exits(faults, profile);
    wrong_information(faults, profile);
    wrong_state(faults);
    if (profile.proc2.can(proc2::VIRTUAL_INTERRUPT_DELIVERY)) {
        wrong_virtual_apic(faults);
    }
    wrong_translations(faults, profile);
    wrong_steps(faults, profile);
    return faults;
}

} // namespace horos::fuzz::vmx
