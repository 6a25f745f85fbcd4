// What run.S believes of the structures that it reads.
#pragma once

#include "horos/fuzz/ring.hpp"

namespace horos::harness {

namespace wire = horos::fuzz::wire;

static_assert(wire::RING_PA == 0x300000 && wire::MAILBOX_PA == 0x200000 && wire::SLOTS == 256);
static_assert(offsetof(wire::Mailbox, baseline) == 16 && offsetof(wire::Mailbox, window) == 152 &&
              offsetof(wire::Mailbox, windowTemplate) == 344 && sizeof(wire::Window) == 16 &&
              offsetof(wire::Mailbox, produced) == 1184 &&
              offsetof(wire::Mailbox, consumed) == 1192 && offsetof(wire::Mailbox, slot) == 1200 &&
              offsetof(wire::Mailbox, rsp) == 1208 && offsetof(wire::Mailbox, rspAfter) == 1216 &&
              offsetof(wire::Mailbox, rax) == 1224 && offsetof(wire::Mailbox, rflags) == 1232 &&
              offsetof(wire::Mailbox, vector) == 1240 && offsetof(wire::Mailbox, error) == 1248 &&
              offsetof(wire::Mailbox, faultRip) == 1256 && offsetof(wire::Mailbox, nmis) == 1264 &&
              offsetof(wire::Mailbox, intrs) == 1268 && offsetof(wire::Mailbox, left) == 1272 &&
              offsetof(wire::Mailbox, table) == 1280);
static_assert(offsetof(wire::RingSlot, id) == 0x700 && offsetof(wire::RingSlot, done) == 0x708 &&
              offsetof(wire::RingSlot, flags) == 0x710 &&
              offsetof(wire::RingSlot, windows) == 0x714 &&
              offsetof(wire::RingSlot, install) == 0x718 &&
              offsetof(wire::RingSlot, codeQwords) == 0x71c &&
              offsetof(wire::RingSlot, codeAddress) == 0x720 &&
              offsetof(wire::RingSlot, rax) == 0x730 && offsetof(wire::RingSlot, status) == 0x740 &&
              offsetof(wire::RingSlot, error) == 0x748 && offsetof(wire::RingSlot, rip) == 0x750 &&
              offsetof(wire::RingSlot, nmis) == 0x758 && offsetof(wire::RingSlot, early) == 0x760 &&
              offsetof(wire::RingSlot, hostDiffers) == 0x764 &&
              offsetof(wire::RingSlot, gpr) == 0x768 && offsetof(wire::RingSlot, host) == 0x808 &&
              offsetof(wire::RingSlot, code) == 0x890 && offsetof(wire::RingSlot, window) == 0x910);
static_assert(wire::PLAIN == 0x80000000 && wire::FRESH_CODE == 1);
static_assert(wire::H_CR8 == 4 && wire::H_RFLAGS == 6 && wire::H_IDTR_LIMIT == 12 &&
              wire::H_HSAVE_PA == 15);

} // namespace horos::harness
