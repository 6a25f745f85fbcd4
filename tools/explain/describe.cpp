// The state that VMRUN would load, in words.
#include "report.hpp"

#include "horos/model/svm/predict.hpp"

#include <fmt/core.h>

namespace horos::explain {

namespace {

using namespace model::svm;
namespace ic = svm::int_ctl;

std::string mode_of(const svm::SaveArea& s) {
    const bool pe = (s.cr0 & x86::cr0::PE) != 0;
    const bool pg = (s.cr0 & x86::cr0::PG) != 0;
    const bool lma = (s.efer & x86::efer::LMA) != 0;
    const uint16_t cs = s.cs.attributes;
    if (!pe) {
        return pg ? "paged real mode" : "real mode";
    }
    if (lma) {
        return (cs & x86::seg::L) != 0    ? "64-bit mode"
               : (cs & x86::seg::DB) != 0 ? "compatibility mode, 32-bit code"
                                          : "compatibility mode, 16-bit code";
    }
    if ((s.rflags & x86::rflags::VM) != 0) {
        return "virtual-8086 mode";
    }
    return (cs & x86::seg::DB) != 0 ? "protected mode, 32-bit code" : "protected mode, 16-bit code";
}

unsigned cpl_of(const svm::SaveArea& s) {
    if ((s.cr0 & x86::cr0::PE) == 0) {
        return 0;
    }
    return (s.rflags & x86::rflags::VM) != 0 ? 3 : s.cpl & 3;
}

std::string paging_of(const svm::SaveArea& s) {
    if ((s.cr0 & x86::cr0::PG) == 0) {
        return "no guest paging";
    }
    const bool lma = (s.efer & x86::efer::LMA) != 0;
    const bool pae = (s.cr4 & x86::cr4::PAE) != 0;
    const bool la57 = (s.cr4 & x86::cr4::LA57) != 0;
    const char* form = lma ? (la57 ? "5-level" : "4-level") : pae ? "PAE" : "32-bit";
    return fmt::format("{} guest paging from CR3 {:#x}", form, s.cr3);
}

std::string event_text(uint64_t event) {
    const auto vector = static_cast<unsigned>(event & svm::event::VECTOR);
    const char* type = "?";
    switch (static_cast<svm::EventType>((event & svm::event::TYPE) >> svm::event::TYPE_SHIFT)) {
    case svm::EventType::INTR:
        type = "interrupt";
        break;
    case svm::EventType::NMI:
        type = "NMI";
        break;
    case svm::EventType::EXCEPTION:
        type = "exception";
        break;
    case svm::EventType::SOFTWARE_INTERRUPT:
        type = "software interrupt";
        break;
    }
    std::string text = fmt::format("injects {} {:#x} before the first instruction", type, vector);
    if ((event & svm::event::ERROR_CODE_VALID) != 0) {
        text += fmt::format(", error code {:#x}", event >> svm::event::ERROR_CODE_SHIFT);
    }
    return text;
}

void append(std::string& list, const std::string& word) {
    list += (list.empty() ? "" : " ") + word;
}

// Names without "VMEXIT_", from the exit codes that the bits lead to.
std::string bits_by_code(uint32_t word, uint64_t first_code, unsigned bits) {
    std::string list;
    for (unsigned i = 0; i < bits; ++i) {
        if ((word >> i & 1) != 0) {
            append(list, exit_code_name(static_cast<ExitCode>(first_code + i)).substr(7));
        }
    }
    return list;
}

std::string intercepts_of(const svm::ControlArea& c) {
    std::string list = bits_by_code(c.intercept_cr & 0xffff, 0x00, 16);
    const auto more = [&](const std::string& words) {
        if (!words.empty()) {
            append(list, words);
        }
    };
    more(bits_by_code(c.intercept_cr >> 16, 0x10, 16));
    more(bits_by_code(c.intercept_dr & 0xffff, 0x20, 16));
    more(bits_by_code(c.intercept_dr >> 16, 0x30, 16));
    more(bits_by_code(c.intercept_exceptions, 0x40, 32));
    more(bits_by_code(c.intercept_misc1, 0x60, 32));
    more(bits_by_code(c.intercept_misc2 & 0xffff, 0x80, 16));
    more(bits_by_code(c.intercept_misc2 >> 16, 0x90, 16));
    more(bits_by_code(c.intercept_misc3 & 0x7f, 0xa0, 7));
    return list;
}

std::string interrupts_of(const svm::ControlArea& c, const svm::SaveArea& s) {
    std::string text = (s.rflags & x86::rflags::IF) != 0 ? "RFLAGS.IF set" : "RFLAGS.IF clear";
    text += (c.int_ctl & ic::V_INTR_MASKING) != 0
                ? ", physical interrupts under the host's IF (V_INTR_MASKING)"
                : ", physical interrupts under the guest's IF";
    if ((c.int_ctl & ic::V_IRQ) != 0) {
        text += fmt::format(", virtual interrupt {:#x} pending at priority {}{}",
                            static_cast<unsigned>(c.v_intr_vector),
                            (c.int_ctl & ic::V_INTR_PRIO) >> ic::V_INTR_PRIO_SHIFT,
                            (c.int_ctl & ic::V_IGN_TPR) != 0 ? ", ignoring V_TPR" : "");
    }
    text += fmt::format(", V_TPR {}", c.int_ctl & ic::V_TPR_PRIO);
    if ((c.int_state & svm::int_state::INTERRUPT_SHADOW) != 0) {
        text += ", in an interrupt shadow";
    }
    return text;
}

std::string tlb_of(uint8_t control) {
    switch (control) {
    case 0:
        return "no TLB flush";
    case 1:
        return "flushes the whole TLB";
    case 3:
        return "flushes this ASID's TLB entries";
    case 7:
        return "flushes this ASID's non-global TLB entries";
    default:
        return fmt::format("TLB_CONTROL {:#x} is reserved", control);
    }
}

} // namespace

std::vector<std::string> describe_state(const svm::Vmcb& vmcb, const Profile& profile) {
    const svm::ControlArea& c = vmcb.control;
    const svm::SaveArea& s = vmcb.save;
    std::vector<std::string> lines;
    lines.push_back(fmt::format("{} at CPL {}, CS:RIP {:#x}:{:#x}, SS:RSP {:#x}:{:#x}", mode_of(s),
                                cpl_of(s), s.cs.selector, s.rip, s.ss.selector, s.rsp));
    lines.push_back(
        fmt::format("CR0 {:#x} CR4 {:#x} EFER {:#x}; {}", s.cr0, s.cr4, s.efer, paging_of(s)));
    const bool np = profile.svm_feature(x86::cpuid::SVM_EDX_NP) &&
                    (c.nested_ctl & svm::nested_ctl::NP_ENABLE) != 0;
    lines.push_back(np ? fmt::format("nested paging from nCR3 {:#x}", c.nested_cr3)
                       : "no nested paging");
    lines.push_back(fmt::format("ASID {}, {}", c.guest_asid, tlb_of(c.tlb_control)));
    lines.push_back(interrupts_of(c, s));
    if ((c.event_inj & svm::event::VALID) != 0) {
        lines.push_back(event_text(c.event_inj));
    }
    if (c.tsc_offset != 0) {
        lines.push_back(fmt::format("TSC offset {:#x}", c.tsc_offset));
    }
    lines.push_back("intercepts: " + intercepts_of(c));
    return lines;
}

// Legal, but hardly meant.
std::vector<std::string> remarks_on(const svm::Vmcb& vmcb, const Profile& profile) {
    const svm::SaveArea& s = vmcb.save;
    std::vector<std::string> out;
    const bool active = (s.efer & x86::efer::LME) != 0 && (s.cr0 & x86::cr0::PG) != 0;
    if (active != ((s.efer & x86::efer::LMA) != 0)) {
        out.push_back("EFER.LMA does not match EFER.LME and CR0.PG: VMRUN does not check it, and "
                      "the manual does not say which mode results");
    }
    const bool pf_exits = (vmcb.control.intercept_exceptions >> 14 & 1) != 0;
    if ((s.cr0 & x86::cr0::PG) != 0 && (s.cr0 & x86::cr0::PE) == 0 && !pf_exits) {
        out.push_back("paged real mode without the #PF intercept has no defined behaviour "
                      "(APM vol. 2 rev. 3.42 §15.19)");
    }
    const unsigned bits = (s.cr4 & x86::cr4::LA57) != 0 ? 57 : 48;
    const auto canonical =
        static_cast<uint64_t>(static_cast<int64_t>(s.rip << (64 - bits)) >> (64 - bits));
    if ((s.efer & x86::efer::LMA) != 0 && (s.cs.attributes & x86::seg::L) != 0 &&
        canonical != s.rip) {
        out.push_back("RIP is not canonical: VMRUN succeeds and the guest takes #GP (§15.5.1)");
    }
    if ((vmcb.control.nested_ctl & svm::nested_ctl::NP_ENABLE) != 0 &&
        !profile.svm_feature(x86::cpuid::SVM_EDX_NP)) {
        out.push_back("NP_ENABLE is set, but the profile has no nested paging");
    }
    return out;
}

} // namespace horos::explain
