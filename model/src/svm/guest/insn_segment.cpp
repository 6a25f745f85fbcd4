// Loads of DS, ES, FS, GS and SS (APM vol. 2 rev. 3.42 §4.5.1, §4.10, table 8-7; vol. 3 MOV, POP).
#include "guest/basic.hpp"
#include "guest/descriptor.hpp"

namespace horos::model::svm::guest {

namespace {

using x86::Vector;

// FS and GS keep a base in 64-bit mode; what a null selector leaves of it is not said.
void load_null(Cpu& cpu, SegReg r, uint16_t selector) {
    Segment& s = cpu.sreg(r);
    if (r == SegReg::SS) {
        const bool level = (selector & 3u) == cpu.cpl || cpu.deviates(Deviation::IRET_NULL_SS);
        if (!cpu.code64() || cpu.cpl == 3 || !level) {
            gp0();
        }
        s.selector = selector;
        s.attributes = static_cast<uint16_t>(cpu.cpl << x86::seg::DPL_SHIFT);
        return;
    }
    s.selector = selector;
    s.attributes &= static_cast<uint16_t>(~x86::seg::P);
    if (r == SegReg::FS || r == SegReg::GS) {
        cpu.result.vmsave_base_open |= r == SegReg::FS ? 1u << 0 : 1u << 1;
        if (cpu.long_mode()) {
            throw Open{"the base of FS or GS after a null selector"};
        }
    }
}

void check_stack(const Cpu& cpu, const Descriptor& d, uint16_t selector) {
    const uint32_t error = selector & 0xfffcu;
    if ((selector & 3u) != cpu.cpl || d.dpl() != cpu.cpl || !d.writable_data()) {
        throw fault(Vector::GP, error);
    }
    if (!d.present()) {
        throw fault(Vector::SS, error);
    }
}

void check_data(const Cpu& cpu, const Descriptor& d, uint16_t selector) {
    const uint32_t error = selector & 0xfffcu;
    const bool segment = (d.attributes() & x86::seg::S) != 0;
    const bool readable = !d.code() || (d.attributes() & x86::seg::READABLE) != 0;
    const bool conforming = d.code() && d.conforming();
    const unsigned level = std::max<unsigned>(cpu.cpl, selector & 3u);
    if (!segment || !readable || (!conforming && level > d.dpl())) {
        throw fault(Vector::GP, error);
    }
    if (!d.present()) {
        throw fault(Vector::NP, error);
    }
}

} // namespace

void load_segment(Cpu& cpu, SegReg r, uint16_t selector) {
    if (r == SegReg::SS && (cpu.rflags & x86::rflags::TF) != 0) {
        throw Open{"a single-step trap after a load of SS"};
    }
    cpu.next_shadow = r == SegReg::SS; // §8.1.4: one instruction in which events wait
    Segment& s = cpu.sreg(r);
    if (cpu.real() || cpu.v86()) {
        s.selector = selector;
        s.base = uint64_t{selector} << 4;
        if (cpu.v86()) {
            s.limit = 0xffff;
            s.attributes = x86::seg::DATA16 | x86::seg::DPL_MASK;
        }
        return;
    }
    if ((selector & 0xfffc) == 0) {
        load_null(cpu, r, selector);
        return;
    }
    const uint64_t at = descriptor_address(cpu, selector, Vector::GP, selector & 0xfffcu);
    Descriptor d{cpu.read_linear(at, 8, true)};
    if (r == SegReg::SS) {
        check_stack(cpu, d, selector);
    } else {
        check_data(cpu, d, selector);
    }
    if (!d.accessed()) {
        constexpr uint64_t ACCESSED = 1ull << 40;
        d.low |= ACCESSED;
        cpu.write_linear(at + 5, d.low >> 40, 1, ~0ull, true);
    }
    s = d.expand(selector);
}

} // namespace horos::model::svm::guest
