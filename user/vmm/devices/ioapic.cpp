#include "devices/ioapic.hpp"

#include <bit>

namespace horos::vmm {
namespace {

constexpr u32 offset_select = 0x00, offset_window = 0x10;
constexpr u32 index_id = 0, index_version = 1, index_arbitration = 2, index_redirection = 0x10;
constexpr u32 version = 0x11;
constexpr u64 remote_irr = bit(14), level_trigger = bit(15), masked = bit(16),
              delivery_status = bit(12), logical = bit(11);
constexpr u64 read_only = remote_irr | delivery_status;
// Bits 17-55 are reserved and read as zero.
constexpr u64 writable = 0xff00'0000'0001'afffull & ~read_only;

} // namespace

u32 Ioapic::read(u32 offset) const {
    switch (offset) {
    case offset_select:
        return select_;
    case offset_window:
        return read_register(select_);
    default:
        return 0;
    }
}

void Ioapic::write(u32 offset, u32 value) {
    switch (offset) {
    case offset_select:
        select_ = value & 0xff;
        break;
    case offset_window:
        write_register(select_, value);
        break;
    default:
        break;
    }
}

u32 Ioapic::read_register(u32 index) const {
    if (index == index_id || index == index_arbitration)
        return u32{id_} << 24;
    if (index == index_version)
        return (pins - 1) << 16 | version;
    const u32 pin = (index - index_redirection) / 2;
    if (index < index_redirection || pin >= pins)
        return 0;
    return static_cast<u32>(redirection_[pin] >> ((index & 1) ? 32 : 0));
}

void Ioapic::write_register(u32 index, u32 value) {
    if (index == index_id) {
        id_ = (value >> 24) & 0x0f;
        return;
    }
    const u32 pin = (index - index_redirection) / 2;
    if (index >= index_redirection && pin < pins)
        write_entry(pin, (index & 1) != 0, value);
}

void Ioapic::write_entry(u32 pin, bool high_half, u32 value) {
    const u64 old = redirection_[pin];
    u64 entry =
        high_half ? (old & 0xffff'ffffull) | u64{value} << 32 : (old & ~0xffff'ffffull) | value;
    entry = (entry & writable) | (old & read_only);
    // Changing a pin to edge drops its remote IRR: that is how software clears a stuck one.
    if (!(entry & level_trigger))
        entry &= ~remote_irr;
    redirection_[pin] = entry;
    if (entry & level_trigger)
        evaluate_level(pin);
}

void Ioapic::evaluate_level(u32 pin) {
    const u64 entry = redirection_[pin];
    if ((lines_ & bit32(pin)) && !(entry & (masked | remote_irr)))
        pending_ |= bit32(pin);
}

void Ioapic::set_line(u32 pin, bool high) {
    if (pin >= pins)
        return;
    const u64 entry = redirection_[pin];
    const bool was = (lines_ & bit32(pin)) != 0;
    // Polarity is a matter of the wires between device and pin: devices here say "asserted".
    lines_ = high ? lines_ | bit32(pin) : lines_ & ~bit32(pin);
    if (entry & level_trigger) {
        evaluate_level(pin);
        if (!high)
            pending_ &= ~bit32(pin);
    } else if (high && !was && !(entry & masked)) {
        // An edge on a masked pin is lost, as on the 82093AA.
        pending_ |= bit32(pin);
    }
}

void Ioapic::end_of_interrupt(u8 vector) {
    for (u32 pin = 0; pin < pins; ++pin) {
        u64& entry = redirection_[pin];
        if ((entry & remote_irr) && static_cast<u8>(entry) == vector) {
            entry &= ~remote_irr;
            evaluate_level(pin);
        }
    }
}

std::optional<InterruptMessage> Ioapic::next_message() {
    while (pending_ != 0) {
        const u32 pin = static_cast<u32>(std::countr_zero(pending_));
        pending_ &= pending_ - 1;
        u64& entry = redirection_[pin];
        if (entry & masked)
            continue;
        const bool level = (entry & level_trigger) != 0;
        if (level)
            entry |= remote_irr;
        return InterruptMessage{.destination = static_cast<u32>(entry >> 56),
                                .mode = static_cast<DeliveryMode>((entry >> 8) & 7),
                                .vector = static_cast<u8>(entry),
                                .logical = (entry & logical) != 0,
                                .level = level,
                                .shorthand = Shorthand::none};
    }
    return std::nullopt;
}

} // namespace horos::vmm
