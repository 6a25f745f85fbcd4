#include "kernel/core/domains.hpp"
#include "kernel/core/caps.hpp"
#include "kernel/core/frames.hpp"

namespace horos::core {

Error domain_create(const Caller& me, const DomainCreateArgs& a) {
    if (const Error e = check_empty(me.domain, a.slot); e != Error::ok)
        return e;
    if (const Error e = check_retype(me.domain, a.frame); e != Error::ok)
        return e;
    if (const Error e = check_retype(me.domain, a.table); e != Error::ok)
        return e;
    if (a.frame == a.table)
        return Error::frame_in_use;
    retype(a.frame, ObjectType::domain);
    retype(a.table, ObjectType::cap_table);
    domains[a.frame].tables[0] = a.table;
    reference(a.table);
    put(me.domain, a.slot, full_cap(a.frame, ObjectType::domain));
    return Error::ok;
}

Error domain_add_table(const Caller& me, const DomainAddTableArgs& a) {
    CapSlot domain;
    if (const Error e = lookup(me.domain, a.domain, ObjectType::domain, right::write, domain);
        e != Error::ok)
        return e;
    if (a.index == 0 || a.index >= tables_per_domain)
        return Error::bad_argument;
    if (domains[domain.object].tables[a.index] != 0)
        return Error::slot_taken;
    if (const Error e = check_retype(me.domain, a.frame); e != Error::ok)
        return e;
    retype(a.frame, ObjectType::cap_table);
    domains[domain.object].tables[a.index] = a.frame;
    reference(a.frame);
    return Error::ok;
}

} // namespace horos::core
