-- The lane of a shared login names the login.

-- Until now every poll came in `c/<client id>/`. From now on only devices of the login `bootstrap` may poll, so the lane
-- of the first poll becomes one of that login: a waiting device still gets its credentials.
UPDATE device_request SET lane = 'c/bootstrap/' || substr(lane, 3) WHERE lane GLOB 'c/*';
