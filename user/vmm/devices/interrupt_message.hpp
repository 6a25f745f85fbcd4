// An interrupt on its way to local APICs, from an IOAPIC pin, an MSI or another local APIC's ICR.
#pragma once

#include "base.hpp"

namespace horos::vmm {

// Delivery modes as encoded in ICR, LVT and redirection entries (APM vol. 2 §16.5, table 16-3).
enum class DeliveryMode : u8 {
    fixed = 0,
    lowest_priority = 1,
    smi = 2,
    remote_read = 3,
    nmi = 4,
    init = 5,
    startup = 6,
    external = 7,
};

enum class Shorthand : u8 { none = 0, self = 1, all = 2, all_but_self = 3 };

struct InterruptMessage {
    u32 destination = 0;
    DeliveryMode mode = DeliveryMode::fixed;
    u8 vector = 0;
    bool logical = false;
    bool level = false;
    Shorthand shorthand = Shorthand::none;
};

} // namespace horos::vmm
