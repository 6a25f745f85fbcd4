// Synchronous calls through endpoints. The server runs on its client's scheduling context.
#pragma once
#include "kernel/core/caller.hpp"

namespace horos::core {

// The server gives back the client's scheduling context and is on its own again.
void return_context(Frame server);
// Ends everybody's waiting at an endpoint that goes away.
void empty_endpoint(Frame endpoint);

Error endpoint_create(const Caller&, const EndpointCreateArgs&);
u64 call(const Caller&, const CallArgs&, Values&);
u64 receive(const Caller&, const ReceiveArgs&, Values&);
Error reply(const Caller&, const ReplyArgs&);
u64 reply_receive(const Caller&, const ReplyReceiveArgs&, Values&);

} // namespace horos::core
