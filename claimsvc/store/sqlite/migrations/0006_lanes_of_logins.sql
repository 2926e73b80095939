-- The lane of a shared login names the login.

-- Until now every poll came in `c/<client id>/`. Only devices of the login `bootstrap` may poll from now on, so the
-- lane that polled first is that login's: a waiting device stays the rightful one and is told of its acceptance.
UPDATE device_request SET lane = 'c/bootstrap/' || substr(lane, 3) WHERE lane GLOB 'c/*';
