#include "devices/lapic.hpp"

namespace horos::vmm {
namespace {

constexpr u32 lvt_masked = bit32(16);
constexpr u32 timer_periodic = 1, timer_deadline_mode = 2;
constexpr u32 lvt_timer = 0, lvt_lint0 = 3, lvt_lint1 = 4, lvt_error = 5;
// Bits of each LVT register that software can write: timer, thermal, performance, LINT0, LINT1,
// error. Delivery status (12) and remote IRR (14) are read-only.
constexpr std::array<u32, 6> lvt_writable = {0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff};
constexpr u32 apic_version = 0x0005'0014; // six LVT entries, integrated APIC
constexpr u32 error_send_illegal = bit32(5), error_receive_illegal = bit32(6),
              error_register_illegal = bit32(7);
constexpr u8 first_legal_vector = 16;

constexpr u8 index_of(ApicRegister reg) { return static_cast<u8>(reg); }
constexpr bool within(ApicRegister reg, ApicRegister first, u32 count) {
    return static_cast<u32>(index_of(reg)) - index_of(first) < count;
}
constexpr DeliveryMode delivery_mode(u32 lvt) { return static_cast<DeliveryMode>((lvt >> 8) & 7); }

} // namespace

void Lapic::reset() {
    request_.clear();
    service_.clear();
    trigger_.clear();
    task_priority_ = 0;
    spurious_ = 0xff;
    logical_destination_ = 0;
    destination_format_ = ~u32{0};
    error_status_ = error_pending_ = 0;
    command_ = 0;
    lvt_.fill(lvt_masked);
    divide_ = initial_count_ = 0;
    count_start_ = tsc_deadline_ = 0;
    timer_deadline_ = never;
}

void Lapic::firmware_setup() {
    spurious_ = 0x1ff;
    lvt_[lvt_lint0] = static_cast<u32>(DeliveryMode::external) << 8;
    lvt_[lvt_lint1] = static_cast<u32>(DeliveryMode::nmi) << 8;
}

bool Lapic::set_base(u64 value) {
    constexpr u64 writable = base_bsp | base_x2apic | base_enable | 0xffff'ffff'f000ull;
    const bool enable = (value & base_enable) != 0;
    const bool wants_x2apic = (value & base_x2apic) != 0;
    if ((value & ~writable) != 0 || (wants_x2apic && !enable))
        return false;
    // x2APIC mode is left only by disabling the APIC (SDM vol. 3A §10.12.5).
    if (x2apic() && enable && !wants_x2apic)
        return false;
    if (!enabled() && wants_x2apic)
        return false;
    const bool was_enabled = enabled();
    base_ = (value & ~base_bsp) | (base_ & base_bsp);
    if (was_enabled && !enable)
        reset();
    return true;
}

void Lapic::accept(u8 vector, bool level) {
    if (vector < first_legal_vector) {
        raise_error(error_receive_illegal);
        return;
    }
    if (!software_enabled())
        return; // a software-disabled APIC takes only INIT, NMI, SMI and SIPI
    request_.insert(vector);
    if (level)
        trigger_.insert(vector);
    else
        trigger_.remove(vector);
}

void Lapic::accept_from(u32 index, u64 bits, u64 level_bits) {
    if (index == 0 && (bits & 0xffff) != 0) {
        raise_error(error_receive_illegal);
        bits &= ~u64{0xffff};
    }
    if (!software_enabled())
        return;
    request_.merge(index, bits);
    trigger_.merge(index, bits & level_bits);
    trigger_.subtract(index, bits & ~level_bits);
}

u8 Lapic::processor_priority() const {
    const int serving = service_.highest();
    const u32 serving_class = serving < 0 ? 0 : static_cast<u32>(serving) & 0xf0;
    return static_cast<u8>((task_priority_ & 0xf0) >= serving_class ? task_priority_
                                                                    : serving_class);
}

int Lapic::pending() const {
    const int wanted = request_.highest();
    if (wanted < 0)
        return VectorSet::none;
    return (wanted & 0xf0) > (processor_priority() & 0xf0) ? wanted : VectorSet::none;
}

void Lapic::deliver(u8 vector) {
    request_.remove(vector);
    service_.insert(vector);
}

int Lapic::end_of_interrupt() {
    const int vector = service_.highest();
    if (vector < 0)
        return VectorSet::none;
    service_.remove(static_cast<u8>(vector));
    return trigger_.contains(static_cast<u8>(vector)) ? vector : VectorSet::none;
}

bool Lapic::eoi_could_be_silent(u8 vector) const {
    return service_.empty() && request_.single() && request_.contains(vector) &&
           !trigger_.contains(vector);
}

bool Lapic::accepts_external() const {
    // A hardware-disabled APIC connects the PIC's pin straight to the processor.
    return !enabled() || (!(lvt_[lvt_lint0] & lvt_masked) &&
                          delivery_mode(lvt_[lvt_lint0]) == DeliveryMode::external);
}

bool Lapic::lint1_nmi() const {
    return !(lvt_[lvt_lint1] & lvt_masked) && delivery_mode(lvt_[lvt_lint1]) == DeliveryMode::nmi;
}

void Lapic::set_task_priority_class(u8 cr8) {
    // CR8 holds the class only; writing it clears the sub-class.
    if ((task_priority_ >> 4) != cr8)
        task_priority_ = u32{cr8} << 4;
}

void Lapic::raise_error(u32 bits) {
    error_pending_ |= bits;
    fire_lvt(lvt_error);
}

void Lapic::fire_lvt(u32 index) {
    const u32 entry = lvt_[index];
    if (entry & lvt_masked)
        return;
    const u8 vector = static_cast<u8>(entry);
    if (vector < first_legal_vector) {
        error_pending_ |= error_receive_illegal;
        return;
    }
    accept(vector, false);
}

// --- registers ---

u32 Lapic::mmio_read(u32 offset, Ticks now) {
    if (offset & 0xf)
        return 0; // only the first four bytes of each sixteen are defined
    const auto reg = static_cast<ApicRegister>(offset >> 4);
    if (reg == ApicRegister::self_ipi)
        return 0;
    if (reg == ApicRegister::id)
        return id_ << 24;
    if (reg == ApicRegister::command_high)
        return static_cast<u32>(command_ >> 32);
    return read(reg, now);
}

ApicEffect Lapic::mmio_write(u32 offset, u32 value, Ticks now) {
    ApicEffect effect;
    if (offset & 0xf)
        return effect;
    const auto reg = static_cast<ApicRegister>(offset >> 4);
    switch (reg) {
    case ApicRegister::id:
    case ApicRegister::self_ipi:
        break; // the ID is fixed; SELF IPI exists in x2APIC mode only
    case ApicRegister::logical_destination:
        logical_destination_ = value & 0xff00'0000u;
        break;
    case ApicRegister::destination_format:
        destination_format_ = value | 0x0fff'ffffu;
        break;
    case ApicRegister::command_high:
        command_ = (command_ & 0xffff'ffffull) | u64{value} << 32;
        break;
    case ApicRegister::command: {
        const u64 high = command_ & ~u64{0xffff'ffff};
        write_command(high | value, effect);
        break;
    }
    default:
        write(reg, value, now, effect);
        break;
    }
    return effect;
}

std::optional<u64> Lapic::msr_read(u32 msr, Ticks now) {
    if (!x2apic())
        return std::nullopt;
    const auto reg = static_cast<ApicRegister>(msr - 0x800);
    switch (reg) {
    case ApicRegister::command:
        return command_;
    case ApicRegister::command_high:
    case ApicRegister::destination_format:
    case ApicRegister::arbitration_priority:
    case ApicRegister::end_of_interrupt: // write-only
    case ApicRegister::self_ipi:
    case ApicRegister::lvt_cmci:
        return std::nullopt;
    case ApicRegister::id:
        return id_;
    case ApicRegister::logical_destination:
        return x2apic_logical_id(id_);
    default:
        break;
    }
    const u32 index = index_of(reg);
    const bool known = index == 0x02 || index == 0x03 || index == 0x08 || index == 0x0a ||
                       index == 0x0f || (index >= 0x10 && index <= 0x28) ||
                       (index >= 0x32 && index <= 0x39) || index == 0x3e;
    if (!known)
        return std::nullopt;
    return read(reg, now);
}

ApicEffect Lapic::msr_write(u32 msr, u64 value, Ticks now) {
    ApicEffect effect;
    const auto reg = static_cast<ApicRegister>(msr - 0x800);
    effect.fault = true;
    if (!x2apic())
        return effect;
    if (reg == ApicRegister::command) {
        effect.fault = false;
        write_command(value, effect);
        return effect;
    }
    if (value >> 32)
        return effect; // the upper half of the other registers is reserved
    switch (reg) {
    case ApicRegister::end_of_interrupt:
    case ApicRegister::error_status:
        if (value != 0)
            return effect; // only zero may be written (SDM vol. 3A §10.12.1.2)
        break;
    case ApicRegister::task_priority:
    case ApicRegister::spurious:
    case ApicRegister::lvt_timer:
    case ApicRegister::lvt_thermal:
    case ApicRegister::lvt_performance:
    case ApicRegister::lvt_lint0:
    case ApicRegister::lvt_lint1:
    case ApicRegister::lvt_error:
    case ApicRegister::initial_count:
    case ApicRegister::divide:
        break;
    case ApicRegister::self_ipi:
        if (value > 0xff)
            return effect;
        effect.fault = false;
        accept(static_cast<u8>(value), false);
        return effect;
    default:
        return effect;
    }
    effect.fault = false;
    write(reg, value, now, effect);
    return effect;
}

u32 Lapic::read(ApicRegister reg, Ticks now) const {
    if (within(reg, ApicRegister::in_service, 8))
        return service_.word32(index_of(reg) - index_of(ApicRegister::in_service));
    if (within(reg, ApicRegister::trigger_mode, 8))
        return trigger_.word32(index_of(reg) - index_of(ApicRegister::trigger_mode));
    if (within(reg, ApicRegister::request, 8))
        return request_.word32(index_of(reg) - index_of(ApicRegister::request));
    if (within(reg, ApicRegister::lvt_timer, lvt_count))
        return lvt_[index_of(reg) - index_of(ApicRegister::lvt_timer)];
    switch (reg) {
    case ApicRegister::version:
        return apic_version;
    case ApicRegister::task_priority:
        return task_priority_;
    case ApicRegister::processor_priority:
    case ApicRegister::arbitration_priority:
        return processor_priority();
    case ApicRegister::logical_destination:
        return logical_destination_;
    case ApicRegister::destination_format:
        return destination_format_;
    case ApicRegister::spurious:
        return spurious_;
    case ApicRegister::error_status:
        return error_status_;
    case ApicRegister::command:
        return static_cast<u32>(command_);
    case ApicRegister::initial_count:
        return initial_count_;
    case ApicRegister::current_count:
        return current_count(now);
    case ApicRegister::divide:
        return divide_;
    default:
        return 0;
    }
}

void Lapic::write(ApicRegister reg, u64 value, Ticks now, ApicEffect& effect) {
    const u32 low = static_cast<u32>(value);
    if (within(reg, ApicRegister::lvt_timer, lvt_count)) {
        write_lvt(index_of(reg) - index_of(ApicRegister::lvt_timer), low, now);
        return;
    }
    switch (reg) {
    case ApicRegister::task_priority:
        task_priority_ = low & 0xff;
        break;
    case ApicRegister::end_of_interrupt:
        effect.broadcast_eoi = end_of_interrupt();
        break;
    case ApicRegister::spurious:
        write_spurious(low);
        break;
    case ApicRegister::error_status:
        // A write makes the errors since the last one readable.
        error_status_ = error_pending_;
        error_pending_ = 0;
        break;
    case ApicRegister::initial_count:
        if (timer_mode() == timer_deadline_mode)
            break; // ignored in TSC-deadline mode
        initial_count_ = low;
        start_count(now);
        break;
    case ApicRegister::divide:
        divide_ = low & 0x0b;
        if (initial_count_ != 0 && timer_mode() != timer_deadline_mode)
            start_count(now);
        break;
    default:
        raise_error(error_register_illegal);
        break;
    }
}

void Lapic::write_spurious(u32 value) {
    spurious_ = value & 0x3ff;
    // Software-disabling masks every LVT entry, and they stay so until written again.
    if (!software_enabled())
        for (u32& entry : lvt_)
            entry |= lvt_masked;
}

void Lapic::write_lvt(u32 index, u32 value, Ticks now) {
    u32 entry = value & lvt_writable[index];
    if (!software_enabled())
        entry |= lvt_masked;
    const u32 old_mode = timer_mode();
    lvt_[index] = entry;
    if (index != lvt_timer)
        return;
    const bool deadline_now = timer_mode() == timer_deadline_mode;
    if (deadline_now != (old_mode == timer_deadline_mode)) {
        // Switching to or from deadline mode disarms (SDM vol. 3A §10.5.4.1).
        initial_count_ = 0;
        tsc_deadline_ = 0;
        timer_deadline_ = never;
    } else if (!deadline_now && old_mode != timer_mode() && initial_count_ != 0 &&
               timer_deadline_ == never) {
        start_count(now); // a spent one-shot turned periodic starts over
    }
}

void Lapic::write_command(u64 value, ApicEffect& effect) {
    constexpr u64 delivery_status = bit(12);
    command_ = value & ~delivery_status;
    const u32 low = static_cast<u32>(value);
    InterruptMessage message{.destination = static_cast<u32>(x2apic() ? value >> 32 : value >> 56),
                             .mode = static_cast<DeliveryMode>((low >> 8) & 7),
                             .vector = static_cast<u8>(low),
                             .logical = (low & bit32(11)) != 0,
                             .level = false, // IPIs are edges; the level bit matters to INIT alone
                             .shorthand = static_cast<Shorthand>((low >> 18) & 3)};
    // An INIT de-assert was for the bus of the Pentium and does nothing now.
    const bool deassert =
        message.mode == DeliveryMode::init && !(low & bit32(14)) && (low & bit32(15));
    if (deassert)
        return;
    const bool carries_vector =
        message.mode == DeliveryMode::fixed || message.mode == DeliveryMode::lowest_priority;
    if (carries_vector && message.vector < first_legal_vector) {
        raise_error(error_send_illegal);
        return;
    }
    effect.message = message;
}

// --- timer ---

unsigned Lapic::divide_shift() const {
    const u32 code = (divide_ & 3) | (divide_ >> 1 & 4);
    return (code + 1) & 7; // 000b divides by 2 … 111b divides by 1
}

void Lapic::start_count(Ticks now) {
    count_start_ = now;
    timer_deadline_ = initial_count_ == 0 ? never : now + (u64{initial_count_} << divide_shift());
}

u32 Lapic::current_count(Ticks now) const {
    if (initial_count_ == 0 || timer_mode() == timer_deadline_mode)
        return 0;
    const u64 passed = (now > count_start_ ? now - count_start_ : 0) >> divide_shift();
    if (timer_mode() == timer_periodic)
        return static_cast<u32>(initial_count_ - passed % initial_count_);
    return passed >= initial_count_ ? 0 : static_cast<u32>(initial_count_ - passed);
}

void Lapic::fire_timer(Ticks now) {
    switch (timer_mode()) {
    case timer_periodic: {
        // Periods that passed while the guest did not run are merged into one interrupt.
        const u64 period = u64{initial_count_} << divide_shift();
        const u64 periods = (now - count_start_) / period;
        count_start_ += periods * period;
        timer_deadline_ = count_start_ + period;
        break;
    }
    default:
        timer_deadline_ = never;
        tsc_deadline_ = 0;
        break;
    }
    fire_lvt(lvt_timer);
}

u64 Lapic::tsc_deadline() const { return timer_mode() == timer_deadline_mode ? tsc_deadline_ : 0; }

void Lapic::set_tsc_deadline(u64 guest_tsc) {
    if (timer_mode() != timer_deadline_mode)
        return;
    tsc_deadline_ = guest_tsc;
    timer_deadline_ = guest_tsc == 0 ? never : guest_tsc - tsc_offset_;
    // A deadline before the offset's origin has passed long ago.
    if (guest_tsc != 0 && static_cast<i64>(timer_deadline_) < 0)
        timer_deadline_ = tsc_offset_ > guest_tsc ? 0 : never - 1;
}

} // namespace horos::vmm
