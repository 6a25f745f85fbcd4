// The PC's pair of 8259A interrupt controllers, slave on line 2 of the master.
#pragma once

#include <array>
#include <optional>

#include "base.hpp"

namespace horos::vmm {

// One 8259A.
class Pic {
public:
    u8 read(bool data_port) const;
    void write(bool data_port, u8 value);
    void set_line(u32 line, bool high);

    // The interrupt this chip asks for, by its priority rules.
    std::optional<u32> request() const;
    // Interrupt acknowledge of that line; returns nothing, the vector is vector_base() + line.
    void acknowledge(u32 line);
    u8 vector_base() const { return vector_base_; }

    u8 level_triggered = 0; // ELCR

private:
    void write_command(u8 value);
    void write_icw1(u8 value);
    void write_ocw2(u8 value);
    void end_of_interrupt(u32 line, bool rotate);
    std::optional<u32> highest(u8 set) const;

    u8 irr_ = 0, isr_ = 0, mask_ = 0, lines_ = 0;
    u8 vector_base_ = 0;
    u8 lowest_priority_ = 7;
    u8 init_step_ = 0;
    bool needs_icw4_ = false, single_ = false;
    bool auto_eoi_ = false, rotate_on_auto_eoi_ = false;
    bool read_isr_ = false, special_mask_ = false, special_nested_ = false;
};

class PicPair {
public:
    u8 read(u16 port) const;
    void write(u16 port, u8 value);
    void set_line(u32 irq, bool high);

    // Is the INTR pin asserted, and with which IRQ?
    std::optional<u32> request() const;
    u8 vector_of(u32 irq) const;
    void acknowledge(u32 irq);

private:
    void cascade();
    Pic master_, slave_;
};

} // namespace horos::vmm
