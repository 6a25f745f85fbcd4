// Taking frames back, whatever they have become.
#pragma once
#include "kernel/core/caller.hpp"

namespace horos::core {

Error frame_reclaim(const Caller&, const FrameReclaimArgs&);

} // namespace horos::core
