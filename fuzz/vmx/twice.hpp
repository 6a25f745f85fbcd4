// Cases of two entries: what the first may leave cached, and what of it the invalidation leaves.
#pragma once

#include "cases.hpp"

namespace horos::fuzz::vmx {

// None, if the case has one entry only: the harness invalidates everything before it.
std::vector<model::vmx::Mapping> kept_mappings(const Test& test, const Profile& profile);
// As kept_mappings(), but before the invalidation.
std::vector<model::vmx::Mapping> made_mappings(const Test& test, const Profile& profile);
// Of some outcomes those that use most of what is cached.
std::vector<model::vmx::GuestExit> always_cached(std::vector<model::vmx::GuestExit> outcomes);

} // namespace horos::fuzz::vmx
