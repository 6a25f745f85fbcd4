// What an accepted request asks for is what the guest runs with: every field of a group that the
// VMM marked is in the control block as it was asked for, every field of the others is as it was.
// The meaning of the page's fields is that of horos/abi/vcpu_state.hpp, the places and encodings
// those of APM vol. 2, appendix B.
#include "asked.hpp"
#include <horos/defs/x86.hpp>

namespace horos::proofs::entry {

namespace {

using abi::VcpuState;
using Control = horos::svm::ControlArea;
using Vmcb = horos::svm::Vmcb;
namespace group = abi::group;

struct Same { // a field that is copied
    const char* name;
    uint32_t group;
    size_t page;
    size_t vmcb;
    unsigned bytes;
    uint64_t mask = ~uint64_t{0};
};

constexpr Same copied[] = {
    {"cr0", group::control, offsetof(VcpuState, cr0), offsetof(Vmcb, save.cr0), 8},
    {"cr3", group::control, offsetof(VcpuState, cr3), offsetof(Vmcb, save.cr3), 8},
    {"cr4", group::control, offsetof(VcpuState, cr4), offsetof(Vmcb, save.cr4), 8},
    {"cr2", group::fault_address, offsetof(VcpuState, cr2), offsetof(Vmcb, save.cr2), 8},
    {"dr6", group::debug, offsetof(VcpuState, dr6), offsetof(Vmcb, save.dr6), 8},
    {"dr7", group::debug, offsetof(VcpuState, dr7), offsetof(Vmcb, save.dr7), 8},
    {"star", group::system, offsetof(VcpuState, star), offsetof(Vmcb, save.star), 8},
    {"lstar", group::system, offsetof(VcpuState, lstar), offsetof(Vmcb, save.lstar), 8},
    {"cstar", group::system, offsetof(VcpuState, cstar), offsetof(Vmcb, save.cstar), 8},
    {"sfmask", group::system, offsetof(VcpuState, sfmask), offsetof(Vmcb, save.sfmask), 8},
    {"kernel_gs_base", group::system, offsetof(VcpuState, kernel_gs_base),
     offsetof(Vmcb, save.kernel_gs_base), 8},
    {"sysenter_cs", group::system, offsetof(VcpuState, sysenter_cs),
     offsetof(Vmcb, save.sysenter_cs), 8},
    {"sysenter_esp", group::system, offsetof(VcpuState, sysenter_esp),
     offsetof(Vmcb, save.sysenter_esp), 8},
    {"sysenter_eip", group::system, offsetof(VcpuState, sysenter_eip),
     offsetof(Vmcb, save.sysenter_eip), 8},
    {"pat", group::system, offsetof(VcpuState, pat), offsetof(Vmcb, save.g_pat), 8},
    {"tsc_offset", group::policy, offsetof(VcpuState, tsc_offset),
     offsetof(Vmcb, control.tsc_offset), 8},
};

struct SameSegment {
    const char* name;
    size_t page;
    size_t vmcb;
};
constexpr SameSegment copied_segments[] = {
    {"es", offsetof(VcpuState, es), offsetof(Vmcb, save.es)},
    {"cs", offsetof(VcpuState, cs), offsetof(Vmcb, save.cs)},
    {"ss", offsetof(VcpuState, ss), offsetof(Vmcb, save.ss)},
    {"ds", offsetof(VcpuState, ds), offsetof(Vmcb, save.ds)},
    {"fs", offsetof(VcpuState, fs), offsetof(Vmcb, save.fs)},
    {"gs", offsetof(VcpuState, gs), offsetof(Vmcb, save.gs)},
    {"ldtr", offsetof(VcpuState, ldtr), offsetof(Vmcb, save.ldtr)},
    {"tr", offsetof(VcpuState, tr), offsetof(Vmcb, save.tr)},
    {"gdtr", offsetof(VcpuState, gdtr), offsetof(Vmcb, save.gdtr)},
    {"idtr", offsetof(VcpuState, idtr), offsetof(Vmcb, save.idtr)},
};
using PageSegment = abi::Segment;
using VmcbSegment = horos::svm::Segment;
constexpr Same segment_parts[] = {
    // places within a segment
    {".selector", group::segments, offsetof(PageSegment, selector), offsetof(VmcbSegment, selector),
     2},
    {".attributes", group::segments, offsetof(PageSegment, attributes),
     offsetof(VmcbSegment, attributes), 2, x86::seg::DEFINED},
    {".limit", group::segments, offsetof(PageSegment, limit), offsetof(VmcbSegment, limit), 4},
    {".base", group::segments, offsetof(PageSegment, base), offsetof(VmcbSegment, base), 8},
};

// The state at the VMRUN that a vcpu_run comes to.
struct Request {
    Step& step;
    View now, before;
    Goals goals;
    Term dirty;

    Term asked(size_t field) const { return read_of_page(step, field); }
    Term marked(uint64_t groups) const {
        return lnot(eq(band(dirty, num(64, groups)), num(64, 0)));
    }
    void must(const std::string& what, Term value, Term expected) {
        goals.emplace_back(what, land(now.guard.term(), lnot(eq(value, expected))));
    }
    // Of a group: what the VMM asked for, or what was there.
    void field(const std::string& what, uint64_t groups, size_t place, unsigned bytes,
               Term expected) {
        const unsigned at = static_cast<unsigned>(place);
        must(what, now.number(at, bytes), ite(marked(groups), expected, before.number(at, bytes)));
    }
    Term vcpu(const View& view, const char* path) const {
        return zext(view.field("vcpus", path, now.vcpu), 64);
    }
    void vcpu_field(const std::string& what, uint64_t groups, const char* path, Term expected) {
        must(what, vcpu(now, path), ite(marked(groups), expected, vcpu(before, path)));
    }
};

Term has(Term value, uint64_t bits) { return lnot(eq(band(value, num(64, bits)), num(64, 0))); }
Term when(Term condition, uint64_t bits) { return ite(condition, num(64, bits), num(64, 0)); }
Term keep(Term value, uint64_t bits) { return band(value, num(64, bits)); }
Term without(Term value, uint64_t bits) { return keep(value, ~bits); }

void control_goals(Request& r) {
    const Term efer = r.asked(offsetof(VcpuState, efer));
    const Term cr0 = r.asked(offsetof(VcpuState, cr0));
    const Term long_mode = land(has(efer, x86::efer::LME), has(cr0, x86::cr0::PG));
    // LMA follows from LME and PG (§14.6.1); SVME must be set (§15.5.1).
    r.field("efer", group::control, offsetof(Vmcb, save.efer), 8,
            bor(without(efer, x86::efer::LMA),
                bor(num(64, x86::efer::SVME), when(long_mode, x86::efer::LMA))));
    const Term ss = r.asked(offsetof(VcpuState, ss.attributes));
    r.field("cpl", group::segments, offsetof(Vmcb, save.cpl), 1,
            band(lshr(ss, num(64, 5)), num(64, 3)));
    // Other page tables: translations of the old ones are void (§15.16).
    Goals& goals = r.goals;
    goals.emplace_back("a new tag",
                       land({r.now.guard.term(), r.marked(group::control),
                             eq(r.vcpu(r.now, "[].tlb_tag"), r.vcpu(r.before, "[].tlb_tag")),
                             eq(r.vcpu(r.now, "[].tlb_era"), r.vcpu(r.before, "[].tlb_era"))}));
}

void register_goals(Request& r) {
    const auto direct = [&](const char* name, size_t page, size_t place) {
        r.must(name, r.now.number(static_cast<unsigned>(place), 8), r.asked(page));
    };
    direct("rip", offsetof(VcpuState, rip), offsetof(Vmcb, save.rip));
    direct("rax", offsetof(VcpuState, gpr), offsetof(Vmcb, save.rax));
    direct("rsp", offsetof(VcpuState, gpr) + 32, offsetof(Vmcb, save.rsp));
    r.must("rflags", r.now.number(offsetof(Vmcb, save.rflags), 8),
           bor(keep(r.asked(offsetof(VcpuState, rflags)), x86::rflags::DEFINED),
               num(64, x86::rflags::ONE)));
}

void debug_goals(Request& r) {
    for (size_t i = 0; i < 4; ++i) {
        const auto value = [&](const View& view) {
            return zext(r.step.kernel.field("vcpus", "[].dr[]", {r.now.vcpu, num(32, i)},
                                            view.world, view.guard),
                        64);
        };
        r.must(
            "dr" + std::to_string(i), value(r.now),
            ite(r.marked(group::debug), r.asked(offsetof(VcpuState, dr) + 8 * i), value(r.before)));
    }
}

// Events and the two windows (§15.20, §15.21.4).
struct Interrupts {
    Term window, nmi_window, deliver;
};
Interrupts interrupts(const Request& r) {
    const Term requests = r.asked(offsetof(VcpuState, requests));
    const Term window = has(requests, abi::request::window);
    const Term pending = r.asked(offsetof(VcpuState, pending_interrupt));
    return {window, has(requests, abi::request::nmi_window),
            land(lnot(window), has(pending, abi::pending::valid))};
}

void event_goals(Request& r) {
    const Term inject = r.asked(offsetof(VcpuState, inject));
    constexpr uint64_t reserved = 0x7fff'f000;
    r.field("event_inj", group::events, offsetof(Vmcb, control.event_inj), 8,
            ite(has(inject, abi::event::valid), without(inject, reserved), num(64, 0)));
    r.field("int_state", group::events, offsetof(Vmcb, control.int_state), 8,
            keep(r.asked(offsetof(VcpuState, interrupt_shadow)), 1));
    const Interrupts in = interrupts(r);
    const Term vector = keep(r.asked(offsetof(VcpuState, pending_interrupt)), 0xff);
    const Term priority = shl(lshr(vector, num(64, 4)), num(64, 16));
    const Term tpr = keep(r.asked(offsetof(VcpuState, tpr)), 0xf);
    constexpr uint64_t masking = 1 << 24, irq = 1 << 8, ignore_tpr = 1 << 20, highest = 0xf << 16;
    r.field("int_ctl", group::events, offsetof(Vmcb, control.int_ctl), 4,
            bor(bor(tpr, num(64, masking)),
                bor(when(in.window, irq | ignore_tpr | highest),
                    ite(in.deliver, bor(priority, num(64, irq)), num(64, 0)))));
    r.field("v_intr_vector", group::events, offsetof(Vmcb, control.v_intr_vector), 1,
            ite(in.deliver, vector, num(64, 0)));
    r.vcpu_field("delivering", group::events, "[].delivering", zext(in.deliver, 64));
    r.vcpu_field("deadline", group::events, "[].deadline", r.asked(offsetof(VcpuState, deadline)));
}

// What exits: what no VMM can switch off (docs/decisions/0003), and what this one asks for.
constexpr uint64_t mandatory_exceptions = 1u << 1 | 1u << 17 | 1u << 18;
constexpr uint64_t mandatory_misc1 = 0x8000'0000 | 0x4000'0000 | 1u << 29 | 1u << 28 | 1u << 27 |
                                     1u << 26 | 1u << 24 | 1u << 22 | 1u << 19 | 1u << 18 |
                                     1u << 15 | 1u << 3 | 1u << 1 | 1u << 0;
constexpr uint64_t mandatory_misc2 = 0x7f | 1u << 9 | 1u << 10 | 1u << 11 | 1u << 13 | 1u << 14;
constexpr uint64_t vintr = 1u << 4, iret = 1u << 20, selective_cr0 = 1u << 5;
constexpr uint64_t all_debug = 0x00ff'00ff, addresses = 0x000f'000f;

// What must not be asked for (policy.hpp) is not accepted.
void acceptable_goals(Request& r) {
    const auto never = [&](const char* what, Term wrong) {
        r.goals.emplace_back(what, land({r.now.guard.term(), r.marked(group::policy), wrong}));
    };
    never("an exit that there is not",
          has_unknown_exits(r.asked(offsetof(VcpuState, extra_exits))));
    never("an XCR0 that XSETBV would not take",
          is_wrong_xcr0(r.before.machine(".xcr0"), r.asked(offsetof(VcpuState, xcr0))));
}

void policy_goals(Request& r) {
    namespace extra = abi::extra_exit;
    const Term asked = r.asked(offsetof(VcpuState, extra_exits));
    const Term exceptions = r.asked(offsetof(VcpuState, exception_exits));
    r.vcpu_field("xcr0", group::policy, "[].xcr0", r.asked(offsetof(VcpuState, xcr0)));
    r.vcpu_field("exception_exits", group::policy, "[].exception_exits", exceptions);
    r.vcpu_field("extra_exits", group::policy, "[].extra_exits", asked);
    r.field("intercept_exceptions", group::policy, offsetof(Vmcb, control.intercept_exceptions), 4,
            bor(exceptions, num(64, mandatory_exceptions)));
    r.field("intercept_misc2", group::policy, offsetof(Vmcb, control.intercept_misc2), 4,
            bor(num(64, mandatory_misc2), when(has(asked, extra::rdtsc), 1u << 7)));
    constexpr uint64_t tables = 0xff << 6;
    const Term chosen = bor(
        num(64, mandatory_misc1),
        bor(bor(when(has(asked, extra::pause), 1u << 23), when(has(asked, extra::rdtsc), 1u << 14)),
            bor(when(has(asked, extra::invlpg), 1u << 25),
                when(has(asked, extra::descriptor_access), tables))));
    // Beside the windows, and CR0 writes that one emulator needs to see (kernel/svm/quirks.hpp).
    const auto misc1 = [](const View& v) {
        return v.number(offsetof(Vmcb, control.intercept_misc1), 4);
    };
    constexpr uint64_t others = vintr | iret | selective_cr0;
    r.must("intercept_misc1", without(misc1(r.now), others),
           without(ite(r.marked(group::policy), chosen, misc1(r.before)), others));
    const Interrupts in = interrupts(r);
    r.must("windows", keep(misc1(r.now), vintr | iret),
           ite(r.marked(group::events), bor(when(in.window, vintr), when(in.nmi_window, iret)),
               keep(misc1(r.before), vintr | iret)));
    // Accesses to the breakpoint registers exit until the guest uses them, or always.
    const auto debug = [](const View& v) {
        return v.number(offsetof(Vmcb, control.intercept_dr), 4);
    };
    const Term always = has(asked, extra::dr_access);
    const Term taken =
        land(r.marked(group::policy), lor(always, eq(debug(r.before), num(64, all_debug))));
    r.must("intercept_dr", debug(r.now),
           ite(taken, ite(always, num(64, all_debug), num(64, addresses)), debug(r.before)));
    r.must("dr_live", r.vcpu(r.now, "[].dr_live"),
           ite(taken, num(64, 0), r.vcpu(r.before, "[].dr_live")));
}

// CR0, CR3, CR4 and CR8, as the policy in force says. On one emulator CR0 and CR4 writes exit
// besides while they could lead to a state that it cannot leave (kernel/svm/quirks.hpp).
void register_exit_goals(Request& r) {
    namespace extra = abi::extra_exit;
    const Term wanted = r.vcpu(r.now, "[].extra_exits");
    const auto reads = [](unsigned n) { return uint64_t{1} << n; };
    const auto writes = [](unsigned n) { return uint64_t{1} << (16 + n); };
    const Term asked = bor(bor(when(has(wanted, extra::cr0_write), writes(0)),
                               when(has(wanted, extra::cr3_write), writes(3))),
                           bor(when(has(wanted, extra::cr4_write), writes(4)),
                               when(has(wanted, extra::cr8), reads(8) | writes(8))));
    const Term quirk = lnot(eq(r.now.machine(".loses_paging"), num(8, 0)));
    const Term lme = has(r.now.number(offsetof(Vmcb, save.efer), 8), x86::efer::LME);
    const Term paging = has(r.now.number(offsetof(Vmcb, save.cr0), 8), x86::cr0::PG);
    constexpr uint64_t groups = group::control | group::policy;
    r.field("intercept_cr", groups, offsetof(Vmcb, control.intercept_cr), 4,
            bor(asked, when(land({quirk, lme, lnot(paging)}), writes(4))));
    const auto selective = [](const View& v) {
        return keep(v.number(offsetof(Vmcb, control.intercept_misc1), 4), selective_cr0);
    };
    r.must("selective CR0 writes", selective(r.now),
           ite(land(r.marked(groups), quirk), when(land(lme, paging), selective_cr0),
               ite(r.marked(group::policy), num(64, 0), selective(r.before))));
}

// The marks are gone, and what was to be injected is not injected again.
void page_goals(Request& r) {
    const Term state = r.now.field("vcpus", "[].state", r.now.vcpu);
    const auto page = [&](size_t field, unsigned bytes) {
        return bytes_of(r.step, r.now.world, r.now.guard, "state_pages", state,
                        abi::vcpu_state_offset + field, bytes);
    };
    const auto gone = [&](const char* what, uint64_t groups, Term left) {
        r.goals.emplace_back(
            what, land({r.now.guard.term(), r.marked(groups), lnot(eq(left, num(64, 0)))}));
    };
    gone("a mark stays", group::all, page(offsetof(VcpuState, dirty), 4));
    gone("the event stays in the page", group::events, page(offsetof(VcpuState, inject), 8));
}

void collect(Request& r) {
    r.dirty = keep(r.asked(offsetof(VcpuState, dirty)), group::all);
    for (const Same& s : copied)
        r.field(s.name, s.group, s.vmcb, s.bytes, keep(r.asked(s.page), s.mask));
    for (const SameSegment& segment : copied_segments) {
        for (const Same& part : segment_parts)
            r.field(std::string(segment.name) + part.name, part.group, segment.vmcb + part.vmcb,
                    part.bytes, keep(r.asked(segment.page + part.page), part.mask));
    }
    control_goals(r);
    register_goals(r);
    debug_goals(r);
    event_goals(r);
    policy_goals(r);
    acceptable_goals(r);
    register_exit_goals(r);
    page_goals(r);
}

} // namespace

static Result accepted(Bitcode& code, const Settings& settings, unsigned number) {
    Step step(code, settings);
    step.engine.obligations_on = false; // theorem 1 is about these
    std::vector<Vmrun> entries = entries_of(step, [&] { step.run_hypercall(number); });
    Result result = begin(step);
    need_entry(result, entries);
    for (Vmrun& e : entries) {
        View now(step, e.guard, e.world);
        View before(step, e.guard, step.kernel.old);
        before.vcpu = now.vcpu;
        before.control = now.control;
        Request r{step, now, before, {}, nullptr};
        collect(r);
        prove_all(step, result, r.goals);
    }
    finish(result);
    return result;
}

Result requests(Bitcode& code, const Settings& settings, unsigned number) {
    try {
        return accepted(code, settings, number);
    } catch (const NotReadOnce& e) {
        Result result;
        result.verdict = Verdict::refuted;
        result.details = {std::string("refuted: ") + e.what()};
        return result;
    }
}

} // namespace horos::proofs::entry
