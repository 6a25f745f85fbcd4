// Domains: what capabilities are held in.
#pragma once
#include "kernel/core/caller.hpp"

namespace horos::core {

Error domain_create(const Caller&, const DomainCreateArgs&);
Error domain_add_table(const Caller&, const DomainAddTableArgs&);

} // namespace horos::core
