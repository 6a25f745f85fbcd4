// Domains: what holds capabilities.
#include "spec/calls.hpp"
#include "spec/state.hpp"

namespace horos::spec {

Answer domain_create(const Caller& me, const DomainCreateArgs& a) {
    Refusal refuse;
    if (refuse(vacant(me.domain, a.slot)) || //
        refuse(raw_memory_of(me.domain, a.frame)) || refuse(raw_memory_of(me.domain, a.table)) ||
        refuse(a.frame == a.table, Error::frame_in_use))
        return refuse.reason;
    make(a.frame, ObjectType::domain);
    make(a.table, ObjectType::cap_table);
    domains[a.frame].tables[0] = a.table;
    refer(a.table);
    put(me.domain, a.slot, full(a.frame));
    return Error::ok;
}

Answer domain_add_table(const Caller& me, const DomainAddTableArgs& a) {
    Cap domain;
    Refusal refuse;
    if (refuse(find(me.domain, a.domain, ObjectType::domain, right::write, domain)) ||
        refuse(a.index < 1 || a.index >= tables_per_domain, Error::bad_argument) ||
        refuse(domains[domain.object].tables[a.index % tables_per_domain] != 0,
               Error::slot_taken) ||
        refuse(raw_memory_of(me.domain, a.frame)))
        return refuse.reason;
    make(a.frame, ObjectType::cap_table);
    domains[domain.object].tables[a.index % tables_per_domain] = a.frame;
    refer(a.frame);
    return Error::ok;
}

} // namespace horos::spec
