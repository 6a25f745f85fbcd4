// What an accepted request asks for is in the VMCS, or beside it where the VMCS has no place, and
// what it does not speak of is as it was. The meaning of the page's fields is that of
// horos/abi/vcpu_state.hpp, the places those of the SDM vol. 3C appendix B.
#include "kernel/vmx/vmx.hpp"
#include "policy.hpp"
#include "vmx.hpp"
#include "vmx_entering.hpp"

#include <horos/abi/vcpu_state.hpp>

namespace horos::proofs::vmx {

namespace {

namespace defs = horos::vmx;
namespace group = abi::group;
using abi::VcpuState;

struct Request {
    Entering& e;
    View old, now;
    Term dirty;
    Claims claims;

    Term in_row(const char* table, Term row, size_t place, unsigned bytes,
                const World& world) const {
        Offset at;
        at.constant = static_cast<int64_t>(place);
        at.add(zext(row, 64), 4096);
        std::string problem;
        Objects& objects = e.step.kernel.objects;
        const auto pieces = objects.pieces(*objects.find(table), at, bytes, problem);
        if (pieces.size() != 1 || pieces[0].leaf == nullptr || pieces[0].leaf->width != bytes * 8)
            throw Unsupported("no field of " + std::string(table) + " at " + std::to_string(place));
        return zext(world.load(*pieces[0].leaf, pieces[0].indices, {}).bits, 64);
    }
    // The kernel copies the page once, but for what it reads again: those are read one by one.
    Term asked(size_t field, unsigned bytes = 8) const {
        return in_row("state_pages", old.narrow("vcpus", "[].state", e.vcpu),
                      abi::vcpu_state_offset + field, bytes, e.step.kernel.old);
    }
    Term left(size_t field, unsigned bytes = 8) const {
        return in_row("state_pages", old.narrow("vcpus", "[].state", e.vcpu),
                      abi::vcpu_state_offset + field, bytes, e.step.now);
    }
    Term marked(uint64_t groups) const { return has(dirty, groups); }
    void must(const std::string& what, Term value, Term expected) {
        claims.emplace_back(what, eq(value, expected));
    }
    // Of a group: what the VMM asked for, or what was there.
    void field(const std::string& what, uint64_t groups, F place, Term expected) {
        must(what, now[place], ite(marked(groups), as_wide(place, expected), old[place]));
    }
    void row(const std::string& what, uint64_t groups, const char* path, Term expected) {
        must(what, now.row(path), ite(marked(groups), expected, old.row(path)));
    }
};

// Read exactly once.
Term read_of_page(const Step& step, size_t place) {
    Term found = nullptr;
    for (const VolatileRead& r : step.engine.volatile_reads) {
        if (r.object->name != "state_pages" ||
            r.offset != static_cast<int64_t>(abi::vcpu_state_offset + place))
            continue;
        if (found != nullptr)
            throw Unsupported("a field of the page is read twice: " + std::to_string(place));
        found = r.value;
    }
    if (found == nullptr)
        throw Unsupported("a field of the page is not read: " + std::to_string(place));
    return zext(found, 64);
}

Term seen(const View& v, F field, F shadow, F mask) {
    return bor(band(v[field], bxor(v[mask], num(64, ~uint64_t{0}))), band(v[shadow], v[mask]));
}

void control_claims(Request& r) {
    const Term cr0 = r.asked(offsetof(VcpuState, cr0));
    const Term efer = r.asked(offsetof(VcpuState, efer));
    const auto as_seen = [&](const char* what, F f, F shadow, F mask, Term asked) {
        r.must(what, seen(r.now, f, shadow, mask),
               ite(r.marked(group::control), asked, seen(r.old, f, shadow, mask)));
    };
    as_seen("cr0", F::GUEST_CR0, F::CR0_SHADOW, F::CR0_MASK, cr0);
    as_seen("cr4", F::GUEST_CR4, F::CR4_SHADOW, F::CR4_MASK, r.asked(offsetof(VcpuState, cr4)));
    constexpr uint64_t not_loaded = x86::cr0::CD | x86::cr0::NW;
    r.field("cr0 that there is", group::control, F::GUEST_CR0,
            bor(keep(cr0, ~not_loaded), r.now.limit(offsetof(core::VmxLimits, cr0_fixed))));
    r.field("cr4 that there is", group::control, F::GUEST_CR4,
            bor(r.asked(offsetof(VcpuState, cr4)), num(64, x86::cr4::VMXE)));
    r.field("cr3", group::control, F::GUEST_CR3, r.asked(offsetof(VcpuState, cr3)));
    const Term long_mode = land(has(efer, x86::efer::LME), has(cr0, x86::cr0::PG));
    r.field("efer", group::control, F::GUEST_EFER,
            bor(keep(efer, ~uint64_t{x86::efer::LMA}), when(long_mode, x86::efer::LMA)));
    r.must("a new tag", r.now.row("[].tlb_era"),
           ite(r.marked(group::control | group::policy), num(64, 0), r.old.row("[].tlb_era")));
}

void segment_claims(Request& r) {
    static constexpr size_t places[] = {offsetof(VcpuState, es),   offsetof(VcpuState, cs),
                                        offsetof(VcpuState, ss),   offsetof(VcpuState, ds),
                                        offsetof(VcpuState, fs),   offsetof(VcpuState, gs),
                                        offsetof(VcpuState, ldtr), offsetof(VcpuState, tr),
                                        offsetof(VcpuState, gdtr), offsetof(VcpuState, idtr)};
    for (unsigned n = 0; n < std::size(places); ++n) {
        const std::string s = "segment " + std::to_string(n);
        const auto put = [&](const char* part, F base, Term value) {
            r.field(s + part, group::segments, defs::plus(base, n), value);
        };
        put(".limit", F::GUEST_ES_LIMIT, r.asked(places[n] + 4, 4));
        put(".base", F::GUEST_ES_BASE, r.asked(places[n] + 8));
        if (n >= defs::SEGMENTS)
            continue;
        put(".selector", F::GUEST_ES_SELECTOR, r.asked(places[n], 2));
        const Term attributes = keep(r.asked(places[n] + 2, 2), x86::seg::DEFINED);
        const Term rights = bor(keep(attributes, 0xff), shl(keep(attributes, 0xf00), num(64, 4)));
        const bool always = n == 1 || n == 7; // CS and TR are always usable
        put(".rights", F::GUEST_ES_RIGHTS,
            bor(rights, always ? num(64, 0)
                               : when(lnot(has(attributes, x86::seg::P)), defs::rights::UNUSABLE)));
    }
}

void debug_and_system_claims(Request& r) {
    r.field("dr7", group::debug, F::GUEST_DR7, r.asked(offsetof(VcpuState, dr7)));
    r.row("dr6", group::debug, "[].vmx.dr6", r.asked(offsetof(VcpuState, dr6)));
    r.row("cr2", group::fault_address, "[].vmx.cr2", r.asked(offsetof(VcpuState, cr2)));
    r.field("sysenter_cs", group::system, F::GUEST_SYSENTER_CS,
            r.asked(offsetof(VcpuState, sysenter_cs)));
    r.field("sysenter_esp", group::system, F::GUEST_SYSENTER_ESP,
            r.asked(offsetof(VcpuState, sysenter_esp)));
    r.field("sysenter_eip", group::system, F::GUEST_SYSENTER_EIP,
            r.asked(offsetof(VcpuState, sysenter_eip)));
    r.field("pat", group::system, F::GUEST_PAT, r.asked(offsetof(VcpuState, pat)));
    const auto copied = [&](const std::string& what, uint64_t g, size_t place, size_t page) {
        r.must(what, r.in_row("vcpus", r.e.vcpu, place, 8, r.e.step.now),
               ite(r.marked(g), r.asked(page),
                   r.in_row("vcpus", r.e.vcpu, place, 8, r.e.step.kernel.old)));
    };
    for (size_t i = 0; i < 4; ++i)
        copied("dr" + std::to_string(i), group::debug, offsetof(core::Vcpu, dr) + 8 * i,
               offsetof(VcpuState, dr) + 8 * i);
    static constexpr size_t msrs[] = {offsetof(VcpuState, star), offsetof(VcpuState, lstar),
                                      offsetof(VcpuState, cstar), offsetof(VcpuState, sfmask),
                                      offsetof(VcpuState, kernel_gs_base)};
    constexpr size_t list = offsetof(core::Vcpu, vmx) + offsetof(core::VmxState, msrs) +
                            offsetof(core::MsrEntry, value);
    for (size_t i = 0; i < std::size(msrs); ++i)
        copied("MSR " + std::to_string(i), group::system, list + i * sizeof(core::MsrEntry),
               msrs[i]);
}

void policy_claims(Request& r) {
    const Term way = r.asked(offsetof(VcpuState, virtual_apic), 4);
    r.row("xcr0", group::policy, "[].xcr0", r.asked(offsetof(VcpuState, xcr0)));
    r.row("exception_exits", group::policy, "[].exception_exits",
          r.asked(offsetof(VcpuState, exception_exits), 4));
    r.row("extra_exits", group::policy, "[].extra_exits",
          r.asked(offsetof(VcpuState, extra_exits), 4));
    r.row("virtual_apic", group::policy, "[].vmx.virtual_apic", way);
    r.row("apic_page", group::policy, "[].vmx.apic_page",
          ite(has(way, abi::virtual_apic::in_page), r.asked(offsetof(VcpuState, apic_page), 4),
              num(64, 0)));
    r.field("tsc_offset", group::policy, F::TSC_OFFSET, r.asked(offsetof(VcpuState, tsc_offset)));
    const Term delivering = has(way, abi::virtual_apic::delivering);
    for (unsigned n = 0; n < 4; ++n) {
        const F field = defs::plus(F::EOI_EXIT_BITMAP_0, n);
        r.must("EOI exits " + std::to_string(n), r.now[field],
               ite(land(r.marked(group::policy), delivering),
                   r.asked(offsetof(VcpuState, eoi_exits) + 8 * n), r.old[field]));
    }
}

// What must not be asked for (policy.hpp) is not accepted.
void acceptable_claims(Request& r) {
    const auto never = [&](const char* what, Term wrong) {
        r.claims.emplace_back(what, lnot(land(r.marked(group::policy), wrong)));
    };
    Kernel& kernel = r.e.step.kernel;
    never("an exit that there is not",
          has_unknown_exits(r.asked(offsetof(VcpuState, extra_exits), 4)));
    never("an XCR0 that XSETBV would not take",
          is_wrong_xcr0(kernel.field("machine", ".xcr0", {}, kernel.old),
                        r.asked(offsetof(VcpuState, xcr0))));
}

void event_claims(Request& r) {
    const Term inject = r.asked(offsetof(VcpuState, inject));
    r.must("event", r.now.row("[].vmx.event"),
           ite(land(r.marked(group::events), has(inject, abi::event::valid)), inject, num(64, 0)));
    r.row("pending_interrupt", group::events, "[].vmx.pending",
          keep(r.asked(offsetof(VcpuState, pending_interrupt)), abi::pending::valid | 0xff));
    r.row("requests", group::events, "[].vmx.requests",
          keep(r.asked(offsetof(VcpuState, requests), 4),
               abi::request::window | abi::request::nmi_window));
    r.row("deadline", group::events, "[].deadline", r.asked(offsetof(VcpuState, deadline)));
    const Term way = r.now.row("[].vmx.virtual_apic");
    r.must("interrupt_status", r.now[F::GUEST_INTERRUPT_STATUS],
           ite(land(r.marked(group::events), has(way, abi::virtual_apic::delivering)),
               keep(r.asked(offsetof(VcpuState, interrupt_status), 4), 0xffff),
               r.old[F::GUEST_INTERRUPT_STATUS]));
    // §24.4.2: two kinds of shadow; an NMI that is injected ends both.
    const Term nmi = land(has(inject, abi::event::valid),
                          is(keep(lshr(inject, num(64, 8)), 7), abi::event::nmi));
    const Term shadow = land(has(r.asked(offsetof(VcpuState, interrupt_shadow), 4), 1), lnot(nmi));
    const Term open = has(r.now[F::GUEST_RFLAGS], x86::rflags::IF);
    const auto blocking = [](const View& v) { return v[F::GUEST_INTERRUPTIBILITY]; };
    const Term kind = ite(open, num(64, 1), num(64, 2));
    const Term before = has(blocking(r.old), 3);
    r.must("shadow", keep(blocking(r.now), 3),
           ite(ite(r.marked(group::events), shadow, before), kind, num(64, 0)));
    r.must("other blocking", keep(blocking(r.now), ~uint64_t{3}),
           keep(blocking(r.old), ~uint64_t{3}));
}

void page_claims(Request& r) {
    r.must("marks are gone", ite(is(r.dirty, 0), num(64, 0), r.left(offsetof(VcpuState, dirty), 4)),
           num(64, 0));
    r.must("the event is gone from the page",
           ite(r.marked(group::events), r.left(offsetof(VcpuState, inject)), num(64, 0)),
           num(64, 0));
}

} // namespace

Claims requested(Entering& e) {
    const Step& step = e.step;
    const Term dirty = keep(read_of_page(step, offsetof(VcpuState, dirty)), group::all);
    Request r{e, e.view(e.step.kernel.old, {}), e.view(e.step.now, {}), dirty, {}};
    r.must("rip", r.now[F::GUEST_RIP], read_of_page(step, offsetof(VcpuState, rip)));
    r.must("rsp", r.now[F::GUEST_RSP], read_of_page(step, offsetof(VcpuState, gpr) + 32));
    r.must("rflags", r.now[F::GUEST_RFLAGS],
           bor(keep(read_of_page(step, offsetof(VcpuState, rflags)), x86::rflags::DEFINED),
               num(64, x86::rflags::ONE)));
    control_claims(r);
    segment_claims(r);
    debug_and_system_claims(r);
    policy_claims(r);
    acceptable_claims(r);
    event_claims(r);
    page_claims(r);
    return r.claims;
}

} // namespace horos::proofs::vmx
