// The virtual APIC: accesses to the APIC-access page, to CR8 and to x2APIC MSRs, and virtual
// interrupts (SDM vol. 3C 325384-077US chapter 29).
#include "guest/machine.hpp"

#include <bit>

namespace horos::model::vmx::guest {

namespace {

using namespace horos::vmx;

// Registers as an access may virtualise them where "APIC-register virtualization" is 1, by bits
// 11:4 of their offset (§29.4.2, §29.4.3.1).
bool writable_register(unsigned offset) {
    switch (offset & ~3u) {
    case 0x20:
    case vapic::TPR:
    case vapic::EOI:
    case 0xd0:
    case 0xe0:
    case 0xf0:
    case 0x280:
    case vapic::ICR_LOW:
    case vapic::ICR_HIGH:
    case 0x320:
    case 0x330:
    case 0x340:
    case 0x350:
    case 0x360:
    case 0x370:
    case 0x380:
    case 0x3e0:
        return true;
    default:
        return false;
    }
}
bool readable_register(unsigned offset) {
    const bool vectors = offset >= vapic::ISR && offset < 0x280; // in-service, trigger, request
    return writable_register(offset) || vectors || (offset & ~3u) == 0x30;
}

// Within the low four bytes of an aligned sixteen.
bool within_register(unsigned offset, unsigned bytes) {
    return (offset & 0xc) == 0 && ((offset + bytes - 1) & 0xc) == 0 && bytes <= 4;
}

} // namespace

uint32_t Guest::vapic(unsigned offset) const {
    const uint64_t at = s[F::VIRTUAL_APIC_ADDRESS] + offset;
    return uint32_t(physical(at & ~7ull) >> (at & 4) * 8);
}
void Guest::put_vapic(unsigned offset, uint32_t value) {
    const uint64_t at = s[F::VIRTUAL_APIC_ADDRESS] + offset;
    const uint64_t shift = (at & 4) * 8;
    put_physical(at & ~7ull, uint64_t{value} << shift, 0xffffffffull << shift);
}
// The 256 bits of VISR or VIRR: 32 in the low part of every sixteen bytes.
void Guest::vapic_bit(unsigned offset, uint8_t vector, bool on) {
    const unsigned at = offset + vector / 32 * 16;
    const uint32_t bit = 1u << vector % 32;
    put_vapic(at, on ? vapic(at) | bit : vapic(at) & ~bit);
}
uint8_t Guest::vapic_highest(unsigned offset) const {
    for (unsigned n = 8; n-- > 0;) {
        const uint32_t word = vapic(offset + n * 16);
        if (word != 0) {
            return uint8_t(n * 32 + 31u - unsigned(std::countl_zero(word)));
        }
    }
    return 0;
}

// ---- accesses to the APIC-access page (§29.4) ----

bool Guest::apic_page(uint64_t hpa) const {
    return proc2(proc2::VIRTUALIZE_APIC_ACCESSES) && (hpa & ~0xfffull) == s[F::APIC_ACCESS_ADDRESS];
}

void Guest::apic_access_exit(uint64_t type, uint64_t offset, uint64_t known) {
    path.push_back("APIC access: exit, type " + std::to_string(type >> apic_access::TYPE_SHIFT));
    Exit exit(ExitReason::APIC_ACCESS);
    exit.qualification = {type | offset, known};
    throw exit;
}

void Guest::apic_fetch() {
    // Which bytes a fetch accesses is the processor's business.
    apic_access_exit(apic_access::LINEAR_FETCH, 0, ~apic_access::OFFSET);
}

// §29.4.6: a paging-structure entry on the page. Without EPT it "may or may not" exit.
void Guest::apic_table_access() {
    if (!ept()) {
        throw Open{"a physical access to the APIC-access page"};
    }
    apic_access_exit(delivering ? apic_access::PHYSICAL_EVENT : apic_access::PHYSICAL_OTHER, 0,
                     ~apic_access::OFFSET);
}

uint64_t Guest::apic_read(uint64_t hpa, unsigned bytes) {
    const auto offset = unsigned(hpa & 0xfff);
    const bool registers = proc2(proc2::APIC_REGISTER_VIRTUALIZATION);
    const bool virtualised = proc(proc::USE_TPR_SHADOW) && within_register(offset, bytes) &&
                             apic_action_ == ApicAction::NONE &&
                             (registers ? readable_register(offset) : offset == vapic::TPR);
    if (!virtualised) {
        apic_access_exit(delivering ? apic_access::LINEAR_EVENT : apic_access::LINEAR_READ, offset,
                         ~0ull);
    }
    path.push_back("APIC read");
    return s[F::VIRTUAL_APIC_ADDRESS] + offset;
}

uint64_t Guest::apic_write(uint64_t hpa, unsigned bytes) {
    const auto offset = unsigned(hpa & 0xfff);
    bool wanted = offset == vapic::TPR;
    if (proc2(proc2::APIC_REGISTER_VIRTUALIZATION)) {
        wanted = writable_register(offset);
    } else if (proc2(proc2::VIRTUAL_INTERRUPT_DELIVERY)) {
        const unsigned start = offset & ~3u;
        wanted = wanted || offset == vapic::EOI || offset == vapic::ICR_LOW ||
                 ((start == vapic::EOI || start == vapic::ICR_LOW) &&
                  deviates(Deviation::APIC_WRITE_WITHIN));
    }
    const bool second = apic_action_ != ApicAction::NONE && apic_offset_ != offset;
    if (!proc(proc::USE_TPR_SHADOW) || !within_register(offset, bytes) || !wanted || second) {
        apic_access_exit(delivering ? apic_access::LINEAR_EVENT : apic_access::LINEAR_WRITE, offset,
                         ~0ull);
    }
    path.push_back("APIC write");
    apic_action_ = ApicAction::MEMORY_WRITE;
    apic_offset_ = uint16_t(offset);
    return s[F::VIRTUAL_APIC_ADDRESS] + offset;
}

void Guest::apic_write_exit(unsigned offset) {
    path.push_back("APIC write: exit");
    Exit exit(ExitReason::APIC_WRITE);
    exit.qualification = {offset, ~0ull};
    throw exit;
}

// §29.4.3.2.
void Guest::emulate_apic_write() {
    const bool delivery = proc2(proc2::VIRTUAL_INTERRUPT_DELIVERY);
    switch (apic_offset_) {
    case vapic::TPR:
        put_vapic(vapic::TPR, vapic(vapic::TPR) & 0xff);
        tpr_virtualization();
        return;
    case vapic::EOI:
        if (delivery) {
            put_vapic(vapic::EOI, 0);
            eoi_virtualization();
            return;
        }
        break;
    case vapic::ICR_LOW: {
        // Reserved bits, delivery status, trigger and delivery mode 0; shorthand "self"; a vector
        // that may be.
        const uint32_t command = vapic(vapic::ICR_LOW);
        constexpr uint32_t MUST = 0xfff00000 | 3u << 16 | 1u << 13 | 1u << 12 | 1u << 15 | 7u << 8;
        if (delivery && (command & MUST) == 0 && (command >> 18 & 3) == 1 &&
            (command & 0xf0) != 0) {
            self_ipi_virtualization(uint8_t(command));
            return;
        }
        break;
    }
    case vapic::ICR_HIGH:
    case vapic::ICR_HIGH + 1:
    case vapic::ICR_HIGH + 2:
    case vapic::ICR_HIGH + 3:
        put_vapic(vapic::ICR_HIGH, vapic(vapic::ICR_HIGH) & 0xff000000);
        return;
    default:
        break;
    }
    apic_write_exit(apic_offset_);
}

void Guest::end_apic_access() {
    const ApicAction action = apic_action_;
    apic_action_ = ApicAction::NONE;
    switch (action) {
    case ApicAction::NONE:
        return;
    case ApicAction::TPR:
        tpr_virtualization();
        return;
    case ApicAction::EOI:
        eoi_virtualization();
        return;
    case ApicAction::SELF_IPI:
        self_ipi_virtualization(apic_vector_);
        return;
    case ApicAction::MEMORY_WRITE:
        emulate_apic_write();
        return;
    case ApicAction::WRITE_EXIT:
        apic_write_exit(apic_offset_);
    }
}

// ---- CR8 and MSRs (§29.3, §29.5) ----

void Guest::write_cr8(uint64_t value) {
    if (!proc(proc::USE_TPR_SHADOW)) {
        throw Open{"a write of CR8 that does not exit"};
    }
    path.push_back("CR8: virtual TPR");
    put_vapic(vapic::TPR, uint32_t(value & 0xf) << 4);
    apic_action_ = ApicAction::TPR;
}

namespace {
bool x2apic_msr(uint32_t number) { return number >> 8 == x86::msr::X2APIC_BASE >> 8; }
} // namespace

bool Guest::read_x2apic(uint32_t number) {
    const unsigned offset = (number & 0xff) << 4;
    if (!proc2(proc2::VIRTUALIZE_X2APIC) || !x2apic_msr(number) ||
        (offset != vapic::TPR && !proc2(proc2::APIC_REGISTER_VIRTUALIZATION))) {
        return false;
    }
    path.push_back("x2APIC read");
    set_reg(ZYDIS_REGISTER_EAX, vapic(offset));
    set_reg(ZYDIS_REGISTER_EDX, vapic(offset + 4));
    return true;
}

bool Guest::write_x2apic(uint32_t number) {
    const unsigned offset = (number & 0xff) << 4;
    const bool delivery = proc2(proc2::VIRTUAL_INTERRUPT_DELIVERY);
    if (!proc2(proc2::VIRTUALIZE_X2APIC) || !x2apic_msr(number) ||
        !(offset == vapic::TPR ||
          (delivery && (offset == vapic::EOI || offset == vapic::SELF_IPI)))) {
        return false;
    }
    const auto low = uint32_t(gpr_value(0)), high = uint32_t(gpr_value(2));
    if (high != 0 || (low & (offset == vapic::EOI ? 0xffffffff : 0xffffff00)) != 0) {
        gp0();
    }
    path.push_back("x2APIC write");
    const bool self = offset == vapic::SELF_IPI && (low & 0xf0) != 0;
    if (!self || !deviates(Deviation::SELF_IPI_NOT_STORED)) {
        put_vapic(offset, low);
        put_vapic(offset + 4, high);
    }
    apic_offset_ = uint16_t(offset);
    apic_vector_ = uint8_t(low);
    apic_action_ = offset == vapic::TPR   ? ApicAction::TPR
                   : offset == vapic::EOI ? ApicAction::EOI
                   : self                 ? ApicAction::SELF_IPI
                                          : ApicAction::WRITE_EXIT;
    return true;
}

// ---- virtual interrupts (§29.1, §29.2) ----

void Guest::tpr_virtualization() {
    if (proc2(proc2::VIRTUAL_INTERRUPT_DELIVERY)) {
        ppr_virtualization();
        evaluate_virtual_interrupts();
        return;
    }
    if ((vapic(vapic::TPR) >> 4 & 0xf) < (s[F::TPR_THRESHOLD] & 0xf)) {
        path.push_back("TPR below threshold");
        throw Exit(ExitReason::TPR_BELOW_THRESHOLD);
    }
}

void Guest::ppr_virtualization() {
    const uint32_t tpr = vapic(vapic::TPR) & 0xff;
    put_vapic(vapic::PPR, tpr >> 4 >= uint32_t{svi_} >> 4 ? tpr : svi_ & 0xf0u);
}

void Guest::eoi_virtualization() {
    const uint8_t vector = svi_;
    vapic_bit(vapic::ISR, vector, false);
    svi_ = vapic_highest(vapic::ISR);
    ppr_virtualization();
    if ((s[plus(F::EOI_EXIT_BITMAP_0, vector / 64)] >> vector % 64 & 1) != 0) {
        path.push_back("virtualised EOI: exit");
        Exit exit(ExitReason::VIRTUALIZED_EOI);
        exit.qualification = {vector, ~0ull};
        throw exit;
    }
    path.push_back("EOI virtualisation");
    evaluate_virtual_interrupts();
}

void Guest::self_ipi_virtualization(uint8_t vector) {
    path.push_back("self-IPI virtualisation");
    vapic_bit(vapic::IRR, vector, true);
    rvi_ = std::max(rvi_, vector);
    evaluate_virtual_interrupts();
}

void Guest::evaluate_virtual_interrupts() {
    virtual_interrupt_ =
        !proc(proc::INTERRUPT_WINDOW_EXITING) && rvi_ >> 4 > int(vapic(vapic::PPR) >> 4 & 0xf);
}

// §26.3.2.5: before the injected event.
void Guest::begin_virtual_interrupts(bool injected) {
    if (!proc2(proc2::VIRTUAL_INTERRUPT_DELIVERY)) {
        return;
    }
    const bool injects = (s[F::ENTRY_INTERRUPTION_INFO] & interruption::VALID) != 0;
    const bool late = injects && deviates(Deviation::ENTRY_PPR_AFTER_EVENT);
    if (injected ? late && !faulted_delivery_ : !late) {
        ppr_virtualization();
        evaluate_virtual_interrupts();
    }
}

void Guest::deliver_virtual_interrupt() {
    if (activity == uint32_t(Activity::SHUTDOWN) ||
        (activity != 0 && deviates(Deviation::HLT_MISSES_VIRTUAL_INTERRUPT))) {
        return;
    }
    const uint8_t vector = rvi_;
    vapic_bit(vapic::ISR, vector, true);
    svi_ = vector;
    put_vapic(vapic::PPR, vector & 0xf0);
    vapic_bit(vapic::IRR, vector, false);
    rvi_ = vapic_highest(vapic::IRR);
    virtual_interrupt_ = false;
    path.push_back("virtual interrupt");
    Event event;
    event.type = InterruptionType::EXTERNAL;
    event.vector = vector;
    event.virtual_interrupt = true;
    deliver_or_raise(event);
}

} // namespace horos::model::vmx::guest
