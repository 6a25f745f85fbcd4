#include "prober/guest_probes.hpp"

#include "native/support/small_guest.hpp"

extern "C" const horos::prober::GuestCode guest_codes_begin[];
extern "C" const horos::prober::GuestCode guest_codes_end[];

namespace horos::prober {
namespace {

using abi::ExitReason;
using native::SmallGuest;

// How long code runs that is not expected to end by itself, and other code: on a busy machine a
// short deadline could pass before the attempt was made, and be taken for what stopped it.
constexpr u64 endless_ms = 20;
constexpr u64 patience_ms = 15'000; // less than an attempt may take
constexpr u64 escaped_port = 0xf4;  // see guest_code.S
constexpr u64 descriptors = 0x2800; // of the guest's segments, guest-physical

SmallGuest& guest() {
    static SmallGuest the_guest;
    return the_guest;
}

constexpr const char* exit_names[] = {"none",
                                      "notified",
                                      "deadline",
                                      "window",
                                      "cpuid",
                                      "io",
                                      "rdmsr",
                                      "wrmsr",
                                      "hlt",
                                      "memory",
                                      "vmcall",
                                      "xsetbv",
                                      "shutdown",
                                      "exception",
                                      "cr_access",
                                      "dr_access",
                                      "wbinvd",
                                      "invd",
                                      "monitor",
                                      "mwait",
                                      "rdpmc",
                                      "pause",
                                      "invlpg",
                                      "virtualisation instruction",
                                      "rsm",
                                      "task_switch",
                                      "init",
                                      "entry_refused",
                                      "descriptor_access",
                                      "rdtsc",
                                      "rdtscp",
                                      "software_interrupt",
                                      "iret"};

void tell(const SmallGuest::Exit& exit) {
    rt::Text<64> text;
    if (exit.error == Error::guard) {
        text.format("the entry guard refused: rule {}", exit.reason);
    } else if (exit.error != Error::ok) {
        text.format("vcpu_run: {}", abi::name_of(exit.error));
    } else if (exit.reason == ExitReason::deadline) {
        text.append("pre-empted");
    } else {
        const u32 reason = static_cast<u32>(exit.reason);
        text.format("exit: {}", reason < std::size(exit_names) ? exit_names[reason] : "other");
    }
    stopped(text.view());
}

// A guest that did what it wanted says so by its port.
bool escaped(const SmallGuest::Exit& exit) {
    return exit.error == Error::ok && exit.reason == ExitReason::io &&
           (guest().state().info[0] & 0xffff) == escaped_port;
}

void write_descriptors() {
    const u64 table[] = {0, 0x00cf'9b00'0000'ffff, 0x00cf'9300'0000'ffff};
    __builtin_memcpy(guest().memory() + descriptors, table, sizeof table);
    guest().state().gdtr = {0, 0, sizeof table - 1, descriptors};
}

u64 host_xcr0() {
    u32 low, high;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return u64{high} << 32 | low;
}

void enter_ring_3() {
    abi::VcpuState& s = guest().state();
    s.cs.selector = 0x0b;
    s.cs.attributes = 0xcfb;
    for (abi::Segment* segment : {&s.ss, &s.ds, &s.es, &s.fs, &s.gs}) {
        segment->selector = 0x13;
        segment->attributes = 0xcf3;
    }
    s.cr0 |= 0x4'0000; // AM
}

// Requests of a hostile monitor. The kernel may refuse them or run the guest with them; what it
// must not do is fall over, or never come back. (Then this would be the prober's last line.) False:
// the virtual CPU is not what it was.
template <class Change>
bool request(const Change& change) {
    static constexpr u8 halt[] = {0xf4};
    guest().load(halt, halt + sizeof halt);
    guest().reset();
    change(guest().state());
    const SmallGuest::Exit exit = guest().run(endless_ms);
    // The virtual CPU must be usable as ever afterwards.
    guest().reset();
    const SmallGuest::Exit after = guest().run(patience_ms);
    if (after.error != Error::ok || after.reason != ExitReason::hlt) {
        rt::Text<128> text;
        text.format("the virtual CPU does not run any more: {}, exit {}, info {:x} {:x}",
                    abi::name_of(after.error), static_cast<u32>(after.reason),
                    guest().state().info[0], guest().state().info[1]);
        not_stopped(text.view());
        return false;
    }
    tell(exit);
    return true;
}

template <auto Change>
void with_request() {
    (void)request(Change);
}

using State = abi::VcpuState;
constexpr u64 ones = ~u64{0};

void random_state() {
    u64 random = 0x9e37'79b9'7f4a'7c15;
    for (u32 round = 0; round < 200; ++round) {
        const bool usable = request([&random](State& state) {
            auto* words = reinterpret_cast<u64*>(&state);
            for (u32 i = 0; i < sizeof state / sizeof(u64); ++i) {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                // Mostly plain values, so that more than the first check is reached.
                words[i] = (random & 7) == 0 ? random : (random & 7) == 1 ? ones : words[i];
            }
            state.dirty = static_cast<u32>(random);
        });
        if (!usable) {
            return;
        }
    }
    stopped("200 random states: each refused or run");
}

void foreign_memory_in_guest() {
    for (u32 frame = 0; frame < 1u << 18; frame += 7) {
        if (!native::own_memory().owns(frame) &&
            user::map_frame(guest().space(), 0x8000, frame, abi::right::read).ok()) {
            return not_stopped("a foreign frame is in the guest");
        }
    }
    stopped("every frame refused");
}
void ports_for_guest() {
    const u32 map = native::own_memory().take(3);
    (void)user::space_io_map(guest().space(), map);
    for (u32 slot = 0; slot < abi::max_selector; ++slot) {
        if (user::guest_port(guest().space(), slot, 0x3f8, 1).ok()) {
            return not_stopped("the guest may use a port");
        }
    }
    stopped("no selector is a port range");
}
// Only state of the guest's own may be passed through; EFER, VM_HSAVE_PA, APIC_BASE and the like
// would be the host's.
void msrs_for_guest() {
    constexpr u32 host_msrs[] = {0x10,        0x1b,        0x1d9,       0x2ff,       0x3a,
                                 0x802,       0x830,       0xc000'0080, 0xc000'0103, 0xc001'0010,
                                 0xc001'0015, 0xc001'0111, 0xc001'0114, 0xc001'0117, 0xc001'1029};
    const u32 map = native::own_memory().take(2);
    (void)user::space_msr_map(guest().space(), map);
    for (const u32 msr : host_msrs) {
        if (user::guest_msr(guest().space(), msr, 3).ok()) {
            rt::Text<48> text;
            text.format("MSR {:x} passes", msr);
            return not_stopped(text.view());
        }
    }
    stopped("all refused");
}
// The processor would take the guest's accesses to such a frame for those to its APIC, and perhaps
// its own accesses to the kernel's tables.
void apic_page_of_foreign_frames() {
    State& s = guest().state();
    guest().reset();
    (void)guest().run(patience_ms);
    if ((s.virtual_apics & abi::virtual_apic::memory) == 0) {
        return stopped("not offered");
    }
    for (u32 frame = 0; frame < 1u << 18; frame += 7) {
        guest().reset();
        s.virtual_apic = abi::virtual_apic::memory;
        s.apic_page = frame;
        if (!native::own_memory().owns(frame) && guest().run(endless_ms).error != Error::guard) {
            return not_stopped("a foreign frame is the APIC-access page");
        }
    }
    stopped("every frame refused");
}
// A page of one's own that becomes a page table while the processor takes it for the APIC.
void apic_page_becomes_a_table() {
    State& s = guest().state();
    const u32 frame = native::own_memory().take();
    guest().reset();
    s.virtual_apic = abi::virtual_apic::memory;
    s.apic_page = frame;
    (void)guest().run(patience_ms);
    if ((s.virtual_apics & abi::virtual_apic::memory) == 0) {
        return stopped("not offered");
    }
    const Error error = user::table_map(guest().space(), 0x20'0000, 1, frame).error;
    guest().reset();
    (void)guest().run(patience_ms); // gives it up
    error == Error::frame_in_use ? stopped("frame_in_use") : not_stopped("it became a table");
}
void vcpu_of_foreign_frames() {
    const u32 slot = abi::start_selector::first_free + 40;
    for (u32 frame = 256; frame < 1u << 17; frame += 37) {
        const u32 own = native::own_memory().first_frame();
        if (!native::own_memory().owns(frame) &&
            (user::vcpu_create(frame, slot, guest().space(), own, own, own).ok() ||
             user::vcpu_create(own, slot, guest().space(), frame, frame + 1, frame + 2).ok())) {
            return not_stopped("a foreign frame became part of a virtual CPU");
        }
    }
    stopped("every frame refused");
}

constexpr Probe probes[] = {
    {"foreign-memory-in-guest", foreign_memory_in_guest},
    {"request-efer-reserved", with_request<[](State& s) { s.efer = ones; }>},
    {"request-efer-without-svme", with_request<[](State& s) {
         s.cr4 = 0x20;
         s.efer = 0x500;
     }>},
    {"request-cr0-high", with_request<[](State& s) { s.cr0 |= u64{1} << 40; }>},
    {"request-cr0-nw-without-cd", with_request<[](State& s) { s.cr0 |= u64{1} << 29; }>},
    {"request-cr3-high", with_request<[](State& s) { s.cr3 = ones; }>},
    {"request-cr4-reserved", with_request<[](State& s) { s.cr4 = ones; }>},
    {"request-long-mode-without-pae", with_request<[](State& s) {
         s.cr0 |= 0x8000'0000;
         s.efer = 0x100;
     }>},
    {"request-long-and-default-size", with_request<[](State& s) {
         s.cr0 |= 0x8000'0000;
         s.cr4 = 0x20;
         s.efer = 0x100;
         s.cs.attributes |= 0x200;
     }>},
    {"request-dr6-high", with_request<[](State& s) { s.dr6 = ones; }>},
    {"request-dr7-high", with_request<[](State& s) { s.dr7 = ones; }>},
    {"request-pat", with_request<[](State& s) { s.pat = ones; }>},
    {"request-xcr0", with_request<[](State& s) { s.xcr0 = ones; }>},
    {"request-xcr0-zero", with_request<[](State& s) { s.xcr0 = 0; }>},
    {"request-rip-high", with_request<[](State& s) { s.rip = 0xffff'8000'0000'0000; }>},
    {"request-rflags", with_request<[](State& s) { s.rflags = ones; }>},
    {"request-vm86", with_request<[](State& s) { s.rflags |= 0x2'0000; }>},
    {"request-segment-attributes", with_request<[](State& s) {
         s.cs.attributes = s.ss.attributes = s.tr.attributes = s.ldtr.attributes = 0xffff;
     }>},
    {"request-no-segments",
     with_request<[](State& s) { s.cs.attributes = s.ss.attributes = s.tr.attributes = 0; }>},
    {"request-gdt-high", with_request<[](State& s) { s.gdtr = {0, 0, 0xffff'ffff, ones}; }>},
    {"request-event-type-1", with_request<[](State& s) { s.inject = 0x8000'0100; }>},
    {"request-event-type-7", with_request<[](State& s) { s.inject = 0x8000'07ff; }>},
    {"request-exception-255", with_request<[](State& s) { s.inject = 0x8000'03ff; }>},
    {"request-nmi", with_request<[](State& s) { s.inject = 0x8000'0202; }>},
    {"request-interrupt", with_request<[](State& s) { s.inject = 0x8000'0020; }>},
    {"request-pending-interrupt", with_request<[](State& s) {
         s.pending_interrupt = 0xffff'ffff;
         s.tpr = 0xffff;
     }>},
    {"request-all-bits", with_request<[](State& s) {
         s.requests = s.dirty = s.wanted = s.extra_exits = s.exception_exits = 0xffff'ffff;
     }>},
    {"request-no-deadline-in-past", with_request<[](State& s) { s.deadline = 0; }>},
    {"request-sysenter-in-kernel", with_request<[](State& s) {
         s.lstar = s.cstar = s.sysenter_eip = s.sysenter_esp = s.kernel_gs_base = ones;
         s.star = ones;
         s.sfmask = ones;
     }>},
    {"request-random-states", random_state},
    {"ports-for-guest", ports_for_guest},
    {"msrs-for-guest", msrs_for_guest},
    {"vcpu-of-foreign-frames", vcpu_of_foreign_frames},
    {"apic-page-of-foreign-frames", apic_page_of_foreign_frames},
    {"apic-page-becomes-a-table", apic_page_becomes_a_table},
    {"request-virtual-apic", with_request<[](State& s) {
         s.virtual_apic = abi::virtual_apic::x2apic;
         s.interrupt_status = 0xffff'ffff;
         for (u64& bits : s.eoi_exits) {
             bits = ones;
         }
     }>},
    {"request-virtual-apic-unknown", with_request<[](State& s) { s.virtual_apic = 0xffff'ffff; }>},
    // QEMU 7.2 does not restore the host's CR0 at an exit from such a guest (LME without PAE and
    // paging): a kernel that entered it would be lost.
    {"request-lme-without-pae", with_request<[](State& s) { s.efer = 0x100; }>},
};

} // namespace

void create_guest() {
    guest().create(native::own_memory(), abi::start_selector::first_free + 32,
                   abi::free_address + 0x1'0000'0000);
}

std::span<const GuestCode> guest_codes() { return {guest_codes_begin, guest_codes_end}; }

void attempt_guest_code(const GuestCode& code) {
    guest().load(code.begin, code.end);
    guest().reset();
    write_descriptors();
    if (std::string_view(code.name) == "guest-alignment") {
        enter_ring_3();
    }
    const std::string_view name = code.name;
    const bool endless = name.find("runaway") != name.npos || name.find("loop") != name.npos;
    const u64 before = host_xcr0();
    const SmallGuest::Exit exit = guest().run(endless ? endless_ms : patience_ms);
    if (host_xcr0() != before) {
        return not_stopped("the host's XCR0 is another");
    }
    if (name == "guest-xsetbv" && escaped(exit)) {
        return stopped("its own XCR0 only"); // QEMU 7.2 has no exit for it
    }
    const bool waited = exit.error == Error::ok && exit.reason == ExitReason::deadline;
    if (escaped(exit)) {
        not_stopped("the guest went on");
    } else if (waited && !endless) {
        not_stopped("the guest hangs");
    } else {
        tell(exit);
    }
}

std::span<const Probe> guest_probes() { return probes; }

} // namespace horos::prober
