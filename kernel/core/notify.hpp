// Notifications: a word of bits that is OR-ed into, and a thread that waits for it.
#pragma once
#include "kernel/core/caller.hpp"

namespace horos::core {

// ORs bits into a notification, wakes its waiter or ends its bound thread's vcpu_run.
void raise(Frame notification, u64 bits);

Error notification_create(const Caller&, const NotificationCreateArgs&);
Error signal(const Caller&, const SignalArgs&);
u64 wait(const Caller&, const WaitArgs&, Values&);

} // namespace horos::core
