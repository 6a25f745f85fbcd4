#include "devices/pic.hpp"

namespace horos::vmm {
namespace {

constexpr u32 cascade_line = 2;
constexpr u8 ocw2_rotate = 0x80, ocw2_specific = 0x40, ocw2_eoi = 0x20;

} // namespace

// The set bit of highest priority; priority falls from the line after lowest_priority_ upwards.
std::optional<u32> Pic::highest(u8 set) const {
    for (u32 i = 1; i <= 8; ++i) {
        const u32 line = (lowest_priority_ + i) & 7;
        if (set & bit32(line))
            return line;
    }
    return std::nullopt;
}

std::optional<u32> Pic::request() const {
    if (init_step_ != 0)
        return std::nullopt;
    const auto wanted = highest(irr_ & ~mask_);
    if (!wanted)
        return std::nullopt;
    const u8 blocking = special_mask_ ? isr_ & ~mask_ : isr_;
    const auto serving = highest(blocking);
    if (!serving)
        return wanted;
    const u32 wanted_rank = (*wanted - lowest_priority_ - 1) & 7;
    const u32 serving_rank = (*serving - lowest_priority_ - 1) & 7;
    // A master in special fully nested mode lets the slave interrupt itself again.
    const bool allowed = special_mask_ ? !(isr_ & bit32(*wanted))
                                       : wanted_rank < serving_rank ||
                                             (special_nested_ && wanted_rank == serving_rank);
    return allowed ? wanted : std::nullopt;
}

void Pic::acknowledge(u32 line) {
    const u8 one = static_cast<u8>(bit32(line));
    if (!(level_triggered & one))
        irr_ &= ~one;
    if (auto_eoi_) {
        if (rotate_on_auto_eoi_)
            lowest_priority_ = static_cast<u8>(line);
    } else {
        isr_ |= one;
    }
}

void Pic::set_line(u32 line, bool high) {
    const u8 one = static_cast<u8>(bit32(line));
    const bool was = (lines_ & one) != 0;
    lines_ = high ? lines_ | one : lines_ & ~one;
    if (level_triggered & one)
        irr_ = high ? irr_ | one : irr_ & ~one;
    else if (high && !was)
        irr_ |= one;
    else if (!high)
        irr_ &= ~one; // an edge request must stay high until it is acknowledged
}

u8 Pic::read(bool data_port) const {
    if (data_port)
        return mask_;
    return read_isr_ ? isr_ : irr_;
}

void Pic::write(bool data_port, u8 value) {
    if (!data_port) {
        write_command(value);
        return;
    }
    switch (init_step_) {
    case 0:
        mask_ = value;
        break;
    case 2:
        vector_base_ = value & 0xf8;
        init_step_ = single_ ? (needs_icw4_ ? 4 : 0) : 3;
        break;
    case 3: // ICW3, the wiring of the cascade, is fixed on a PC
        init_step_ = needs_icw4_ ? 4 : 0;
        break;
    default:
        special_nested_ = (value & 0x10) != 0;
        auto_eoi_ = (value & 0x02) != 0;
        init_step_ = 0;
        break;
    }
}

void Pic::write_command(u8 value) {
    if (value & 0x10) {
        write_icw1(value);
    } else if (value & 0x08) { // OCW3
        if (value & 0x02)
            read_isr_ = (value & 0x01) != 0;
        if (value & 0x40)
            special_mask_ = (value & 0x20) != 0;
    } else {
        write_ocw2(value);
    }
}

void Pic::write_icw1(u8 value) {
    // Edge requests are forgotten; a level line that is still high asks again.
    irr_ = lines_ & level_triggered;
    isr_ = mask_ = 0;
    lowest_priority_ = 7;
    auto_eoi_ = rotate_on_auto_eoi_ = read_isr_ = special_mask_ = special_nested_ = false;
    needs_icw4_ = (value & 0x01) != 0;
    single_ = (value & 0x02) != 0;
    init_step_ = 2;
}

void Pic::write_ocw2(u8 value) {
    const u32 named = value & 7;
    switch (value & (ocw2_rotate | ocw2_specific | ocw2_eoi)) {
    case ocw2_eoi:
    case ocw2_rotate | ocw2_eoi:
        if (const auto line = highest(isr_))
            end_of_interrupt(*line, (value & ocw2_rotate) != 0);
        break;
    case ocw2_specific | ocw2_eoi:
    case ocw2_rotate | ocw2_specific | ocw2_eoi:
        end_of_interrupt(named, (value & ocw2_rotate) != 0);
        break;
    case ocw2_rotate | ocw2_specific:
        lowest_priority_ = static_cast<u8>(named);
        break;
    case ocw2_rotate:
        rotate_on_auto_eoi_ = true;
        break;
    case 0:
        rotate_on_auto_eoi_ = false;
        break;
    default:
        break; // 010: no operation
    }
}

void Pic::end_of_interrupt(u32 line, bool rotate) {
    isr_ &= ~static_cast<u8>(bit32(line));
    if (rotate)
        lowest_priority_ = static_cast<u8>(line);
}

u8 PicPair::read(u16 port) const {
    switch (port) {
    case 0x20:
    case 0x21:
        return master_.read(port & 1);
    case 0xa0:
    case 0xa1:
        return slave_.read(port & 1);
    case 0x4d0:
        return master_.level_triggered;
    case 0x4d1:
        return slave_.level_triggered;
    default:
        return 0xff;
    }
}

void PicPair::write(u16 port, u8 value) {
    switch (port) {
    case 0x20:
    case 0x21:
        master_.write(port & 1, value);
        break;
    case 0xa0:
    case 0xa1:
        slave_.write(port & 1, value);
        break;
    case 0x4d0: // timer, keyboard and cascade are always edges
        master_.level_triggered = value & 0xf8;
        break;
    case 0x4d1: // so are the clock and the coprocessor
        slave_.level_triggered = value & 0xde;
        break;
    default:
        break;
    }
    cascade();
}

void PicPair::set_line(u32 irq, bool high) {
    if (irq < 8 && irq != cascade_line)
        master_.set_line(irq, high);
    else if (irq >= 8 && irq < 16)
        slave_.set_line(irq - 8, high);
    cascade();
}

void PicPair::cascade() { master_.set_line(cascade_line, slave_.request().has_value()); }

std::optional<u32> PicPair::request() const {
    const auto line = master_.request();
    if (!line || *line != cascade_line)
        return line;
    const auto behind = slave_.request();
    // The slave withdrew: it answers with its spurious line 7.
    return behind ? *behind + 8 : 15u;
}

u8 PicPair::vector_of(u32 irq) const {
    return static_cast<u8>(irq < 8 ? master_.vector_base() + irq : slave_.vector_base() + irq - 8);
}

void PicPair::acknowledge(u32 irq) {
    if (irq < 8) {
        master_.acknowledge(irq);
        return;
    }
    master_.acknowledge(cascade_line);
    slave_.acknowledge(irq - 8);
    // The slave's pin drops during its acknowledge, so a further request is a new edge.
    master_.set_line(cascade_line, false);
    cascade();
}

} // namespace horos::vmm
