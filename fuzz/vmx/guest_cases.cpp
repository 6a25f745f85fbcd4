// Guests that do one sensitive thing: a mode, a snippet of code, controls and maps near it.
#include "guest_maker.hpp"
#include "layout.hpp"

#include <cstring>
#include <string_view>

namespace horos::fuzz::vmx {

namespace {

using E = Extra;

// Segments of a flat 32-bit guest, of real mode, or of virtual-8086 mode.
void put_flat(RuleState& s, uint32_t code, uint32_t data) {
    for (unsigned n = 0; n < 6; ++n) {
        s[plus(F::GUEST_ES_RIGHTS, n)] = n == 1 ? code : data;
        s[plus(F::GUEST_ES_LIMIT, n)] = 0xffffffff;
        s[plus(F::GUEST_ES_BASE, n)] = 0;
    }
}
void put_real(RuleState& s) {
    for (unsigned n = 0; n < 6; ++n) {
        s[plus(F::GUEST_ES_SELECTOR, n)] = n == 1 ? 0xf000 : 0;
        s[plus(F::GUEST_ES_BASE, n)] = n == 1 ? CODE_PA : 0;
        s[plus(F::GUEST_ES_LIMIT, n)] = 0xffffffff;
        s[plus(F::GUEST_ES_RIGHTS, n)] = n == 1 ? 0x809b : 0x8093;
    }
}

} // namespace

void Maker::mode() {
    const bool unrestricted = p.proc2.can(proc2::UNRESTRICTED_GUEST);
    const uint64_t what = below(9);
    if (what < 5) {
        return; // 64-bit mode, as the base is
    }
    set(F::ENTRY_CONTROLS, p.entry, entry_ctl::IA32E_MODE_GUEST, false);
    s()[F::GUEST_EFER] = 0;
    const uint32_t code = rights_of(x86::seg::CODE32), data = rights_of(x86::seg::DATA32);
    put_flat(s(), code, data);
    if (what == 5) { // 32-bit, four-mebibyte pages
        s()[F::GUEST_CR4] = (s()[F::GUEST_CR4] & ~x86::cr4::PAE) | x86::cr4::PSE;
        s()[F::GUEST_CR3] = GUEST_PD32_PA;
    } else if (what == 6 || what == 8 || !unrestricted) { // 32-bit, PAE
        s()[F::GUEST_CR3] = PAE_PDPT_PA;
        for (unsigned n = 0; n < 4; ++n) {
            const uint64_t entry = n == 0 ? GUEST_PD_PA | 1 : 0;
            s()[plus(F::GUEST_PDPTE0, n)] = entry;
            s()[static_cast<E>(unsigned(E::PDPTE0) + n)] = entry;
        }
        if (what == 8) {
            virtual_8086();
        }
    } else { // real-address mode
        s()[F::GUEST_CR0] &= ~(x86::cr0::PE | x86::cr0::PG);
        s()[F::GUEST_CR4] &= ~x86::cr4::PAE;
        set(F::PROC_CONTROLS, p.proc, proc::ACTIVATE_SECONDARY, true);
        set(F::PROC_CONTROLS_2, p.proc2, proc2::ENABLE_EPT | proc2::UNRESTRICTED_GUEST, true);
        put_real(s());
    }
}

void Maker::user() {
    const bool v86 = (s()[F::GUEST_RFLAGS] & x86::rflags::VM) != 0;
    if (v86 || !one_in(4) || (s()[F::GUEST_CR0] & x86::cr0::PE) == 0) {
        return;
    }
    for (unsigned n = 0; n < 6; ++n) {
        s()[plus(F::GUEST_ES_RIGHTS, n)] |= rights::DPL;
        s()[plus(F::GUEST_ES_SELECTOR, n)] |= 3;
    }
    if (one_in(2)) {
        s()[F::GUEST_RFLAGS] |= x86::rflags::IOPL;
    }
}

void Maker::controls() {
    constexpr uint32_t PROC[] = {
        proc::HLT_EXITING,       proc::INVLPG_EXITING,   proc::MWAIT_EXITING,
        proc::RDPMC_EXITING,     proc::RDTSC_EXITING,    proc::CR3_LOAD_EXITING,
        proc::CR3_STORE_EXITING, proc::CR8_LOAD_EXITING, proc::CR8_STORE_EXITING,
        proc::MOV_DR_EXITING,    proc::MONITOR_EXITING,  proc::PAUSE_EXITING,
        proc::USE_IO_BITMAPS,    proc::USE_MSR_BITMAPS,  proc::UNCONDITIONAL_IO_EXITING};
    constexpr uint32_t PROC2[] = {proc2::DESCRIPTOR_TABLE_EXITING,
                                  proc2::ENABLE_RDTSCP,
                                  proc2::WBINVD_EXITING,
                                  proc2::RDRAND_EXITING,
                                  proc2::ENABLE_INVPCID,
                                  proc2::RDSEED_EXITING,
                                  proc2::ENABLE_XSAVES,
                                  proc2::ENABLE_VM_FUNCTIONS};
    for (uint32_t bit : PROC) {
        set(F::PROC_CONTROLS, p.proc, bit, one_in(2));
    }
    for (uint32_t bit : PROC2) {
        set(F::PROC_CONTROLS_2, p.proc2, bit, one_in(2));
    }
    if (one_in(12)) {
        set(F::PROC_CONTROLS, p.proc, proc::MONITOR_TRAP_FLAG, true);
    }
    if (one_in(8)) {
        set(F::PROC_CONTROLS, p.proc, proc::INTERRUPT_WINDOW_EXITING, true);
        s()[F::GUEST_RFLAGS] |= one_in(2) ? x86::rflags::IF : 0;
    }
    if (one_in(8)) {
        set(F::PIN_CONTROLS, p.pin, pin::NMI_EXITING | pin::VIRTUAL_NMIS, true);
        set(F::PROC_CONTROLS, p.proc, proc::NMI_WINDOW_EXITING, true);
        s()[F::GUEST_INTERRUPTIBILITY] |= one_in(2) ? interruptibility::BLOCKING_BY_NMI : 0;
    }
    if (one_in(8)) {
        set(F::PROC_CONTROLS_2, p.proc2, proc2::VMCS_SHADOWING, true);
        s()[F::VMREAD_BITMAP] = s()[F::VMWRITE_BITMAP] = ZERO_PA;
        if (!one_in(3)) {
            s()[F::VMCS_LINK_POINTER] = LINK_PA;
            s()[E::LINK_REVISION] = p.revision() | 0x80000000;
        }
    }
    set(F::PIN_CONTROLS, p.pin, pin::PREEMPTION_TIMER, true);
    s()[F::PREEMPTION_TIMER] = one_in(16) ? 0 : 3000;
    s()[F::EXCEPTION_BITMAP] = one_in(2) ? 0xffffffff : random() & 0xffffffff;
    s()[F::PF_ERROR_CODE_MASK] = one_in(2) ? 0 : below(32);
    s()[F::PF_ERROR_CODE_MATCH] = one_in(2) ? 0 : below(32);
}

void Maker::registers(const Snippet& snippet) {
    auto& g = test.guest;
    for (uint64_t& value : g.gpr) {
        value = one_in(4) ? random() : below(256);
    }
    g.gpr[3] = DATA_PA + below(2) * 16; // RBX
    if (one_in(10)) {
        g.gpr[3] = pick(0x0000800000000000ull, DATA_PA + 0xffe, 0x40000000 + below(4096), CODE_PA,
                        HANDLER_PA + 8, GUEST_PT_PA);
        if (g.gpr[3] == GUEST_PT_PA) { // what a guest writes there would stay
            g.gpr[3] = CODE_PA + 64;
        }
    }
    g.gpr[6] = g.gpr[7] = DATA_PA + 32;
    const bool x2apic = snippet.msr >> 8 == x86::msr::X2APIC_BASE >> 8;
    if (x2apic) {
        g.gpr[1] = pick(0x808, 0x80b, 0x80b, 0x83f, 0x80a, 0x800 + below(256));
    } else if (snippet.msr != 0) {
        g.gpr[1] = one_in(2) ? snippet.msr
                             : pick(0x175, 0x176, 0xc0000100, 0xc0000101, 0x1fff, 0x2000,
                                    0xc0001fff, 0xc0002000, 0x40000000, random() >> 32);
    }
    g.gpr[0] = one_in(2) ? g.gpr[0] : pick(s()[F::GUEST_CR0], s()[F::GUEST_CR4], 0, 1, 0x4400, 63);
    g.gpr[2] = one_in(2) ? g.gpr[2] : pick(s()[F::GUEST_CR3], 0, 0xffff, 0x60, 0x7fff, 0x8000);
    if (snippet.msr == x86::msr::SYSENTER_CS && one_in(2)) {
        g.gpr[2] = 0; // the field has 32 bits
    }
    const std::string_view name(snippet.name);
    if (name.starts_with("vmread") || name.starts_with("vmwrite")) { // mostly fields that there are
        const auto fields = model::vmx::vmcs_fields();
        const auto field = [&] {
            const uint64_t number = encoding(fields[below(fields.size())].field);
            return one_in(4) ? number ^ 1ull << below(16) : number;
        };
        g.gpr[0] = field();
        g.gpr[1] = one_in(2) ? field() : g.gpr[0];
    }
    if (name.starts_with("invpcid")) {
        g.gpr[2] = below(5);
        if (one_in(2) && g.gpr[3] >> 12 == DATA_PA >> 12) {
            poke(g.gpr[3] & ~0xfull, one_in(2) ? below(0x2000) : 0);
            poke((g.gpr[3] & ~0xfull) + 8, random() >> below(64));
        }
    }
    if (uses_port(snippet)) {
        g.gpr[2] = pick(0x80, 0x84, 0x378, 0x7ffe, 0x7fff, 0x8000, 0xfffe, 0xffff);
    }
    if ((s()[F::GUEST_RFLAGS] & x86::rflags::VM) != 0) {
        virtual_8086_registers();
        return;
    }
    s()[F::GUEST_RSP] = STACK_PA;
    s()[F::GUEST_RIP] = (s()[F::GUEST_CS_BASE] != 0) ? CODE_PA - s()[F::GUEST_CS_BASE] : CODE_PA;
}

void Maker::maps(const Snippet& snippet) {
    const auto& g = test.guest;
    const auto bit = [&](uint64_t page, uint64_t number) {
        poke(page + (number >> 6) * 8, 1ull << (number & 63));
    };
    if (snippet.msr != 0 && one_in(2)) {
        const auto n = uint32_t(g.gpr[1]);
        const uint64_t low = n & 0x1fff;
        bit(ZERO_PA, low + (n >= 0xc0000000 ? 8192 : 0) + (one_in(2) ? 16384 : 0));
    }
    if (one_in(3)) { // the ports that the snippets use, and their neighbours
        const uint64_t port = pick(0x60, 0x70, g.gpr[2] & 0xffff, (g.gpr[2] + 1) & 0xffff);
        bit(ZERO_PA, port & 0x7fff);
    }
    s()[F::IO_BITMAP_B] = ZERO_PA;
    if (one_in(3)) {
        s()[F::CR0_MASK] = random() & 0xffffffff;
        s()[F::CR4_MASK] = random() & 0xffffffff;
        s()[F::CR0_SHADOW] = one_in(2) ? s()[F::GUEST_CR0] : random() & 0xffffffff;
        s()[F::CR4_SHADOW] = one_in(2) ? s()[F::GUEST_CR4] : random() & 0xffffffff;
        s()[F::CR3_TARGET_COUNT] = below(5);
        s()[F::CR3_TARGET_0] = one_in(2) ? g.gpr[2] : 0;
    }
    s()[F::VM_FUNCTION_CONTROLS] = one_in(4) ? 0 : p.vmfunc & 1;
    if (p.vmfunc != 0 && one_in(2)) {
        s()[F::EPTP_LIST_ADDRESS] = LOG_PA;
        const uint64_t good = OTHER_EPT_PA | 0x1e;
        poke(LOG_PA + (one_in(2) ? g.gpr[1] & 511 : 0) * 8,
             one_in(2) ? good : good ^ 1ull << below(64));
        if (one_in(2)) {
            test.guest.gpr[0] = 0;
            test.guest.gpr[1] &= 511;
        }
    }
}

void Maker::ept_entries() {
    if (!one_in(3)) {
        return;
    }
    if (one_in(3)) {
        s()[F::EPTP] ^= eptp::ACCESSED_DIRTY & (p.ept_vpid & ept_cap::ACCESSED_DIRTY ? ~0ull : 0);
    }
    if (one_in(4) && (s()[F::EPTP] & eptp::ACCESSED_DIRTY) != 0) {
        set(F::PROC_CONTROLS_2, p.proc2, proc2::ENABLE_PML, true);
        s()[F::PML_ADDRESS] = LOG_PA;
        s()[F::PML_INDEX] = pick(0, 0, 512, 0xffff);
        poke(LOG_PA, 0);
    }
    if (one_in(3)) {
        set(F::PROC_CONTROLS, p.proc, proc::ACTIVATE_SECONDARY, true);
        set(F::PROC_CONTROLS_2, p.proc2, proc2::ENABLE_EPT | proc2::EPT_VIOLATION_VE, true);
        s()[F::VE_INFORMATION_ADDRESS] = VE_PA;
        s()[F::EPTP_INDEX] = below(0x10000);
        if (one_in(4)) {
            poke(VE_PA, random());
        }
    }
    // One entry on the way to the data, the code, the tables or the descriptors, with some of its
    // bits changed.
    const uint64_t page =
        pick(DATA_PA, DATA_PA, CODE_PA, GUEST_PT_PA, GUEST_PML4_PA, DESCRIPTORS_PA, HANDLER_PA);
    const uint64_t places[] = {EPT_PT_PA + (page >> 12 & 511) * 8, EPT_PD_PA + (page >> 21) * 8,
                               EPT_PDPT_PA, EPT_PML4_PA};
    const uint64_t values[] = {page | 0x337, EPT_PT_PA | 0x307, EPT_PD_PA | 0x307,
                               EPT_PDPT_PA | 0x307};
    // Bits 31:12 stay: a guest shall not get write access to what is not its own. Bit 7 above the
    // last level makes a page of what was a table.
    change_entry(places, values, {.flips = 3, .low_bits = 12, .high_from = 32});
}

// The entry of one level of a walk, the last one half of the time.
void Maker::change_entry(const uint64_t (&places)[4], const uint64_t (&values)[4],
                         const EntryChange& change) {
    const uint64_t level = one_in(2) ? 0 : below(4);
    uint64_t value = values[level];
    for (uint64_t n = 1 + below(change.flips); n > 0; --n) {
        value ^= 1ull << (one_in(4) ? change.high_from + below(64 - change.high_from)
                                    : below(change.low_bits));
    }
    poke(places[level], value);
}

void Maker::guest_tables() {
    if (!one_in(4)) {
        return;
    }
    const uint64_t page = pick(DATA_PA, DATA_PA, CODE_PA, DESCRIPTORS_PA);
    const uint64_t places[] = {GUEST_PT_PA + (page >> 12 & 511) * 8, GUEST_PD_PA + (page >> 21) * 8,
                               GUEST_PDPT_PA, GUEST_PML4_PA};
    const uint64_t values[] = {page | 0x67, GUEST_PT_PA | 0x27, GUEST_PD_PA | 0x27,
                               GUEST_PDPT_PA | 0x27};
    change_entry(places, values, {.flips = 2, .low_bits = 9, .high_from = 40});
    if (one_in(2)) {
        s()[F::GUEST_CR0] ^= x86::cr0::WP;
    }
}

void Maker::events() {
    if (one_in(3)) { // an IDT and a GDT of our own
        const bool wide = (s()[F::ENTRY_CONTROLS] & entry_ctl::IA32E_MODE_GUEST) != 0;
        const bool real = (s()[F::GUEST_CR0] & x86::cr0::PE) == 0;
        s()[F::GUEST_IDTR_BASE] = wide ? DESCRIPTORS_PA + 0x400 : real ? VECTORS_PA : GATES32_PA;
        s()[F::GUEST_GDTR_BASE] = DESCRIPTORS_PA;
        s()[F::GUEST_GDTR_LIMIT] = pick(selector::GDT_LIMIT, selector::GDT_LIMIT, 0x1f, 0x0e, 0);
        s()[F::GUEST_IDTR_LIMIT] =
            wide ? pick(0x1ff, 0x1ff, 0xff, 0x8f, 0) : pick(0xff, 0xff, 0x6f, 0x17, 0);
        if (real) { // a stack, and the arena where real-address mode reaches it
            s()[F::GUEST_SS_BASE] = STACK_PA & ~0xffffull;
            poke(EPT_PD_PA, EPT_PT_PA | 0x307);
        } else if (!wide && one_in(3)) {
            const uint64_t vector = below(32), target = HANDLER_PA + vector * 16;
            const uint64_t gate =
                (target & 0xffff) | 0x18ull << 16 | 0x8e00ull << 32 | (target >> 16 & 0xffff) << 48;
            poke(GATES32_PA + vector * 8, gate ^ 1ull << below(64));
        } else if (wide && one_in(3)) {
            const uint64_t vector = below(32);
            const uint64_t target = HANDLER_PA + vector * 16;
            const uint64_t gate =
                (target & 0xffff) | 0x08ull << 16 | 0x8e00ull << 32 | (target >> 16 & 0xffff) << 48;
            poke(DESCRIPTORS_PA + 0x400 + vector * 16, gate ^ 1ull << below(64));
        }
    } else {
        s()[F::GUEST_IDTR_LIMIT] = pick(0, 0x7f, 0xffff);
        s()[F::GUEST_IDTR_BASE] = DESCRIPTORS_PA + 0x200; // zeros: no gate
    }
    if (one_in(6)) {
        const auto type = InterruptionType(pick(0, 2, 3, 4, 5, 6));
        const uint64_t vector = type == InterruptionType::NMI                  ? 2
                                : type == InterruptionType::HARDWARE_EXCEPTION ? below(20)
                                : type == InterruptionType::SOFTWARE_EXCEPTION ? 3
                                                                               : below(32);
        const bool error = type == InterruptionType::HARDWARE_EXCEPTION &&
                           (x86::VECTORS_WITH_ERROR_CODE >> vector & 1) != 0 &&
                           (s()[F::GUEST_CR0] & x86::cr0::PE) != 0;
        s()[F::ENTRY_INTERRUPTION_INFO] =
            make_interruption(type, uint8_t(vector)) | (error ? interruption::ERROR_CODE_VALID : 0);
        s()[F::ENTRY_EXCEPTION_ERROR_CODE] = error ? below(0x8000) : 0;
        s()[F::ENTRY_INSTRUCTION_LENGTH] = 1 + below(4);
        s()[F::GUEST_RFLAGS] |= type == InterruptionType::EXTERNAL ? x86::rflags::IF : 0;
    }
}

void Maker::fields() {
    if (one_in(6)) {
        s()[F::GUEST_RFLAGS] ^= x86::rflags::TF;
    }
    if (one_in(16)) {
        s()[F::GUEST_ACTIVITY] = 1;
    }
    if (one_in(16)) {
        s()[F::GUEST_PENDING_DEBUG] = pick(0x1001, 0x4000, 0x1, 0x1000);
    }
    if (one_in(4)) {
        s()[F::GUEST_CR4] ^=
            pick(x86::cr4::TSD, x86::cr4::DE, x86::cr4::PCE, x86::cr4::UMIP, x86::cr4::OSXSAVE) &
            p.cr4_fixed1;
    }
    if (one_in(8)) {
        s()[F::GUEST_CR0] ^= x86::cr0::TS;
    }
    if (one_in(8)) {
        s()[F::GUEST_GS_BASE] = one_in(2) ? 0x1000 : 0xffff800000000000;
    }
    if (one_in(16)) {
        s()[F::GUEST_DR7] |= x86::dr7::GD;
    }
    if (one_in(12)) {
        set(F::PROC_CONTROLS, p.proc, proc::USE_TPR_SHADOW, true);
        s()[F::VIRTUAL_APIC_ADDRESS] = VAPIC_PA;
        s()[E::VTPR] = below(256);
        s()[F::TPR_THRESHOLD] = below(16);
    }
}

size_t snippet_count() { return guest_snippets().size(); }

Test guest_test(const RuleState& base, const Profile& profile, std::mt19937_64& random) {
    Maker m{profile, random, {}};
    m.test.kind = Kind::GUEST;
    m.test.state = base;
    const Snippet& snippet = guest_snippets()[m.below(guest_snippets().size())];
    m.mode();
    m.user();
    m.controls();
    m.registers(snippet);
    m.maps(snippet);
    m.ept_entries();
    m.guest_tables();
    m.events();
    m.fields();
    m.tasks(snippet);
    m.apic(snippet);
    if (snippet.use == Snippet::TWICE) {
        m.twice();
    }
    constexpr uint8_t vmcall[] = {0x0f, 0x01, 0xc1, 0x90};
    uint8_t* code = m.test.guest.code;
    for (unsigned n = 0; n < CODE_BYTES; n += sizeof vmcall) {
        std::memcpy(code + n, vmcall, sizeof vmcall);
    }
    std::copy(snippet.bytes.begin(), snippet.bytes.end(), code);
    // What follows the snippet is VMCALL from its first byte on.
    for (size_t n = snippet.bytes.size(); n + 3 <= CODE_BYTES; n += 3) {
        std::memcpy(code + n, vmcall, 3);
    }
    m.test.guest.code_bytes = CODE_BYTES;
    m.test.state = model::vmx::repair(m.test.state, profile);
    return m.test;
}

} // namespace horos::fuzz::vmx
