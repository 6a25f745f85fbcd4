// What the parts of the harness share.
#pragma once

#include "console.hpp"
#include "cpu.hpp"
#include "horos/fuzz/ring.hpp"

#include <cstddef>
#include <cstdint>

namespace horos::harness {

namespace wire = horos::fuzz::wire;

inline constexpr uint32_t MSR_EFER = 0xc0000080, MSR_TSC_AUX = 0xc0000103, MSR_HSAVE = 0xc0010117;
inline constexpr uint64_t EFER_SVME = 1 << 12;
inline constexpr uint64_t APIC = 0xfee00000;

template <typename T>
T* at(uint64_t pa) {
    return reinterpret_cast<T*>(pa);
}
inline wire::Mailbox& mailbox() { return *at<wire::Mailbox>(wire::MAILBOX_PA); }
inline void apic_write(uint32_t reg, uint32_t value) { *at<volatile uint32_t>(APIC + reg) = value; }
inline uint32_t apic_read(uint32_t reg) { return *at<volatile uint32_t>(APIC + reg); }

// host.cpp
void load_tables();
void read_host(uint64_t (&host)[wire::H_COUNT]);
// What a leak could have broken is put right, so that one case's damage stays its own.
void mend_host(const uint64_t (&found)[wire::H_COUNT]);

// case.cpp
void install(wire::RingSlot& c);
// The general form of what run_plain does, with all that a case may ask for. The VMCB is the case.
void run_case(wire::RingSlot& c);

// standalone.cpp: the case that was written into the image, if there is one.
void run_embedded();

} // namespace horos::harness
